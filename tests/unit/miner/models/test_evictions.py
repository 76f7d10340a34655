"""Which models are removed to free space for another one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.miner.models.evictions import EvictionPlan, StoredModel, plan_evictions

SIZES = st.integers(0, 100)
MODELS = st.lists(
    st.builds(
        StoredModel, st.text("abcdef", min_size=1, max_size=3), SIZES, st.floats(0, 10), st.booleans(), st.booleans(),
        st.booleans(),
    ),
    max_size=8,
    unique_by=lambda model: model.name,
)  # fmt: skip


def fits(stored: list[StoredModel], removed: set[str], needed: int, quota: int | None, free: int) -> bool:
    retained = sum(model.size for model in stored if model.name not in removed)
    gained = sum(model.size for model in stored if model.name in removed)
    return needed <= free + gained and (quota is None or retained + needed <= quota)


@given(MODELS, SIZES, st.none() | st.integers(0, 400), st.integers(-50, 200))
def test_space_is_freed_whenever_possible_and_removes_no_model_needlessly(
    stored: list[StoredModel], needed: int, quota: int | None, free: int
) -> None:
    plan = plan_evictions(stored, needed, quota=quota, free=free)
    removed = set(plan.removals)
    removable = {model.name for model in stored if model.removable} if quota is not None else set()
    assert removed <= removable
    assert len(removed) == len(plan.removals)
    if plan.lacking:
        assert removed == set()
        assert not fits(stored, removable, needed, quota, free)
    else:
        assert fits(stored, removed, needed, quota, free)
        assert all(not fits(stored, removed - {name}, needed, quota, free) for name in removed)


@given(MODELS, SIZES, st.integers(0, 400))
def test_a_recently_used_model_is_removed_only_if_removing_all_older_ones_is_not_enough(
    stored: list[StoredModel], needed: int, quota: int
) -> None:
    removed = set(plan_evictions(stored, needed, quota=quota, free=10**6).removals)
    last = max((model.last_used for model in stored if model.name in removed), default=0)
    before = {model.name for model in stored if model.removable and model.last_used < last}
    assert not removed or not fits(stored, before, needed, quota, 10**6)


def test_examples() -> None:
    stored = [StoredModel("old", 3, 1), StoredModel("new", 3, 2), StoredModel("large", 9, 3)]
    assert plan_evictions(stored, 5, quota=20, free=100) == EvictionPlan()
    assert plan_evictions(stored, 5, quota=19, free=100) == EvictionPlan(("old",))
    assert plan_evictions(stored, 5, quota=20, free=0) == EvictionPlan(("old", "new"))
    assert plan_evictions(stored, 5, quota=12, free=100) == EvictionPlan(("large",))
    assert plan_evictions(stored, 25, quota=20, free=100) == EvictionPlan(lacking=5)
    assert plan_evictions(stored, 5, quota=None, free=3) == EvictionPlan(lacking=2)
