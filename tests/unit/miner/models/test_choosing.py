"""Which model a miner fetches by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agent.miner.models.choosing import AskedFor, Fetchable, ModelChoice, OnDisk, choose

GIB = 2**30


def asked(earned: float, jobs: int = 100, waiting: int = 0, miners: int = 0) -> AskedFor:
    return AskedFor(jobs=jobs, earned=earned, waiting=waiting, miners=miners, days=7)


def chosen(
    demand: dict[str, AskedFor], on_disk: Sequence[OnDisk] = (), free: int = 100 * GIB, **changes: Any
) -> ModelChoice:
    """Return the choice among models of 10 GiB that are asked for and not here."""
    here = {model.name for model in on_disk}
    fetchable = [Fetchable(name, 10 * GIB) for name in demand if name not in here]
    options = {"least_jobs": 20, "may_remove": True, **changes}
    return choose(demand, fetchable, on_disk, free, **options)


def here(name: str, size: int = 10, *, may_go: bool = True) -> OnDisk:
    return OnDisk(name, size * GIB, may_go)


def test_the_model_that_brings_most_is_fetched() -> None:
    choice = chosen({"a": asked(7), "b": asked(21.7, jobs=412), "c": asked(14)})
    assert (choice.model, choice.removals) == ("b", ())
    assert choice.reason == "412 jobs in 7 days, about 3.1 credits a day"


def test_miners_that_have_it_share_what_it_brings() -> None:
    assert chosen({"popular": asked(70, miners=19), "rare": asked(7)}).model == "rare"


def test_waiting_jobs_count_as_what_is_left_undone() -> None:
    assert chosen({"served": asked(10), "short": asked(8, waiting=20)}).model == "short"


def test_a_few_jobs_are_chance() -> None:
    choice = chosen({"a": asked(1000, jobs=19)})
    assert choice.model is None
    assert "20 paid jobs" in choice.reason
    assert chosen({"a": asked(1000, jobs=19)}, least_jobs=19).model == "a"


def test_nothing_is_fetched_that_would_not_run_or_that_nobody_asks_for() -> None:
    assert choose({"a": asked(7)}, [], [], 100 * GIB, least_jobs=20, may_remove=True).model is None
    fetchable = [Fetchable("b", GIB)]
    assert choose({"a": asked(7)}, fetchable, [], 100 * GIB, least_jobs=20, may_remove=True).model is None


def test_the_least_profitable_ones_go() -> None:
    demand = {"new": asked(70), "good": asked(35, miners=1), "poor": asked(7, miners=1)}
    on_disk = [here("good"), here("unasked"), here("poor")]
    assert chosen(demand, on_disk, free=0).removals == ("unasked",)
    assert chosen(demand, on_disk[::2], free=0).removals == ("poor",)
    assert chosen(demand, [here("good"), here("poor", 4), here("unasked", 8)], free=0).removals == (
        "unasked",
        "poor",
    )


def test_pinned_used_and_new_models_stay() -> None:
    demand = {"new": asked(70)}
    assert chosen(demand, [here("pinned", may_go=False)], free=0).model is None
    assert chosen(demand, [here("pinned", may_go=False), here("old")], free=0).removals == ("old",)


def test_models_of_similar_worth_do_not_replace_each_other() -> None:
    on_disk = [here("present")]
    assert chosen({"new": asked(14), "present": asked(10, miners=1)}, on_disk, free=0).model is None
    assert chosen({"new": asked(16), "present": asked(10, miners=1)}, on_disk, free=0).model == "new"
    # Nor do several small ones go that together bring as much.
    small = [here("a", 5), here("b", 5)]
    demand = {"new": asked(16), "a": asked(6, miners=1), "b": asked(6, miners=1)}
    assert chosen(demand, small, free=0).model is None


def test_nothing_is_removed_without_a_quota() -> None:
    demand = {"new": asked(70)}
    assert chosen(demand, [here("old")], free=0, may_remove=False).model is None
    assert chosen(demand, [here("old")], free=10 * GIB, may_remove=False) == chosen(demand, [here("old")])


def test_a_smaller_one_is_taken_where_the_best_does_not_fit() -> None:
    demand = {"large": asked(70), "small": asked(7)}
    fetchable = [Fetchable("large", 50 * GIB), Fetchable("small", 5 * GIB)]
    choice = choose(demand, fetchable, [], 10 * GIB, least_jobs=20, may_remove=True)
    assert (choice.model, choice.removals) == ("small", ())
