"""Which miner gets which job."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core import assignment
from agent.core.assignment import MAX_RANKINGS, Candidates, match
from agent.core.matching import (
    AGEING_SECONDS,
    Candidate,
    FreeCapacity,
    Restrictions,
    ServiceOffer,
    Waiting,
    fits,
    in_turn,
)

CHEAP = ServiceOffer(Decimal("0.001"), frozenset({"base"}))


def job(job_id: str, **changes: Any) -> Waiting:
    values: dict[str, Any] = {
        "account_id": "account_1",
        "service": "whisper",
        "model": None,
        "priority": 0,
        "submitted_at": 0.0,
        **changes,
    }
    return Waiting(job_id=job_id, **values)


def miner(miner_id: str, slots: int = 1, offer: ServiceOffer = CHEAP, **changes: Any) -> Candidate:
    values: dict[str, Any] = {
        "services": {"whisper": offer},
        "cpu_cores": Decimal(4),
        "memory": 2**33,
        **changes,
    }
    return Candidate(miner_id=miner_id, session=1, slots=slots, **values)


def matched(
    jobs: list[Waiting], miners: list[Candidate], now: float = 0.0, **running: int
) -> list[tuple[str, str]]:
    return [
        (job_id, candidate.miner_id) for job_id, candidate in match(jobs, Candidates(miners), running, now)
    ]


def test_jobs_of_higher_priority_are_matched_first() -> None:
    assert matched([job("a"), job("b", priority=5)], [miner("m")]) == [("b", "m")]


def test_a_low_priority_job_is_not_starved() -> None:
    """New urgent jobs keep arriving, and the old one is matched once its age makes up for its priority."""
    old = job("old", submitted_at=0.0)
    for minute in range(1, 30):
        now = minute * AGEING_SECONDS
        fresh = job(f"fresh-{minute}", priority=9, submitted_at=now)
        if matched([old, fresh], [miner("m")], now)[0][0] == "old":
            assert minute <= 10
            return
    raise AssertionError("the old job never ran")


def test_jobs_of_equal_priority_are_shared_between_clients() -> None:
    """A client with a hundred jobs does not delay another client's first job."""
    crowd = [job(f"crowd-{number:03}", account_id="crowd") for number in range(100)]
    single = job("single", account_id="single", submitted_at=50.0)
    first_two = matched([*crowd, single], [miner("m", slots=2)], now=50.0)
    assert ("single", "m") in first_two
    assert matched([crowd[0], single], [miner("m")], now=50.0, crowd=3) == [("single", "m")]


def test_the_cheapest_miner_that_can_start_at_once_gets_the_job() -> None:
    """A miner that would have to download the model comes last, even if it is the cheapest."""
    requested = job("a", model="base")
    loaded = ServiceOffer(Decimal(9), frozenset({"base"}), frozenset({"base"}))
    disk = ServiceOffer(Decimal(5), frozenset({"base"}))
    download = ServiceOffer(Decimal(1), downloadable=True)
    offers = {"l": loaded, "d": disk, "x": download}
    assert matched([requested], [miner(name, offer=offer) for name, offer in offers.items()]) == [("a", "d")]
    assert matched([requested], [miner("l", offer=loaded), miner("x", offer=download)]) == [("a", "l")]
    assert matched([requested], [miner("x", offer=download)]) == [("a", "x")]


def test_among_equal_prices_a_loaded_model_is_preferred() -> None:
    requested = job("a", model="base")
    loaded = ServiceOffer(Decimal(5), frozenset({"base"}), frozenset({"base"}))
    disk = ServiceOffer(Decimal(5), frozenset({"base"}))
    assert matched([requested], [miner("d", 4, disk), miner("l", 1, loaded)]) == [("a", "l")]


def test_a_miner_whose_unit_price_exceeds_the_maximum_cost_does_not_get_the_job() -> None:
    poor = job("a", budget=Decimal("0.0009"))
    assert matched([poor], [miner("m")]) == []
    assert matched([replace(poor, budget=Decimal("0.001"))], [miner("m")]) == [("a", "m")]
    agreed = replace(poor, budget=None)
    assert matched([agreed], [miner("m")]) == [("a", "m")]


def test_a_job_returns_to_the_miner_that_failed_it_only_after_a_delay() -> None:
    failed = job("a", avoid_miner_id="m", avoid_until=10.0)
    assert matched([failed], [miner("m")], now=9.9) == []
    assert matched([failed], [miner("m")], now=10.0) == [("a", "m")]


def test_a_job_that_does_not_fit_is_not_assigned() -> None:
    assert not fits(job("a", service="ffmpeg"), miner("m"), 0.0)
    assert not fits(job("a", model="large"), miner("m"), 0.0)
    assert not fits(job("a", gpus=1), miner("m"), 0.0)
    assert not fits(job("a", memory=2**34), miner("m"), 0.0)
    assert not fits(job("a", cpu=Decimal(5)), miner("m"), 0.0)
    assert not fits(job("a", miner_id="other"), miner("m"), 0.0)
    assert fits(job("a", miner_id="m", gpus=1), miner("m", gpus=1), 0.0)


def test_a_job_for_several_gpus_needs_a_service_that_can_use_them_together() -> None:
    alone, together = miner("alone", gpus=4), miner("together", offer=replace(CHEAP, gpus=4), gpus=2)
    assert matched([job("a", gpus=2)], [alone]) == []
    assert matched([job("a", gpus=2)], [alone, together]) == [("a", "together")]
    assert matched([job("a", gpus=3)], [together]) == []


def test_no_miner_gets_more_than_its_slots() -> None:
    pairs = matched([job(str(number)) for number in range(10)], [miner("m", 2), miner("n", 3)])
    assert sorted(name for _, name in pairs) == ["m", "m", "n", "n", "n"]


def test_a_job_avoids_the_miner_that_failed_it_while_another_waits() -> None:
    failed = job("a", avoid_miner_id="m")
    assert matched([failed], [miner("m"), miner("n")]) == [("a", "n")]
    assert matched([failed], [miner("m")]) == [("a", "m")]


# Batches -------------------------------------------------------------------------------------------------------------

BATCHED = ServiceOffer(Decimal("0.001"), frozenset({"base", "tiny"}), concurrency=4)


def test_a_slot_accepts_as_many_jobs_of_one_model_as_it_computes_together() -> None:
    jobs = [job(f"{number}", model="base") for number in range(10)]
    assert len(matched(jobs, [miner("m", 1, BATCHED)])) == 4
    assert len(matched(jobs, [miner("m", 2, BATCHED)])) == 8
    assert len(matched(jobs, [miner("m", 2)])) == 2


def test_jobs_of_different_models_need_separate_slots() -> None:
    jobs = [job("a", model="base"), job("b", model="tiny"), job("c", model="base"), job("d", model=None)]
    assert [name for name, _ in matched(jobs, [miner("m", 1, BATCHED)])] == ["a", "c"]
    assert [name for name, _ in matched(jobs, [miner("m", 2, BATCHED)])] == ["a", "b", "c"]


def test_free_batch_capacity_is_only_for_its_service_and_model() -> None:
    jobs = [job("a", model="tiny"), job("b", model="base"), job("c", model="base"), job("d", model="base")]
    batched = miner("m", 0, BATCHED, batch_capacity={("whisper", "base"): 2, ("other", "tiny"): 5})
    assert matched(jobs, [batched]) == [("b", "m"), ("c", "m")]
    # The free slot goes to the job that no batch has capacity for.
    assert [name for name, _ in matched(jobs, [replace(batched, slots=1)])] == ["a", "b", "c"]


def test_joining_a_running_batch_is_preferred_to_a_slot_at_the_same_price() -> None:
    """A cheaper miner still wins; otherwise an expensive one could keep its clients with a batch that never ends."""
    requested = job("a", model="base")
    loaded = ServiceOffer(Decimal(9), frozenset({"base"}), frozenset({"base"}), concurrency=4)
    batch = miner("z", 1, loaded, batch_capacity={("whisper", "base"): 1})
    assert matched([requested], [miner("a", 4, loaded), batch]) == [("a", "z")]
    assert matched([replace(requested, avoid_miner_id="z")], [miner("a", 4, loaded), batch]) == [("a", "a")]
    cheap = replace(loaded, unit_price=Decimal(8), loaded=frozenset())
    assert matched([requested], [miner("a", 4, cheap), batch]) == [("a", "a")]


def test_a_miner_gets_no_job_for_a_model_that_it_reports_as_unavailable() -> None:
    offer = ServiceOffer(
        Decimal(1),
        frozenset({"base"}),
        frozenset({"base"}),
        downloadable=True,
        unavailable_models=frozenset({"base"}),
    )
    assert matched([job("a", model="base")], [miner("m", 1, offer)]) == []
    assert matched([job("a", model="large"), job("b")], [miner("m", 2, offer)]) == [("a", "m"), ("b", "m")]


def test_a_limit_applies_even_with_more_free_capacity() -> None:
    jobs = [job(f"{number}", model="base") for number in range(10)]
    for limit, count in ((3, 3), (0, 0), (-2, 0)):
        assert len(match(jobs, Candidates([miner("m", 2, BATCHED)]), {}, 0.0, most={"m": limit})) == count


MODELS = ("base", "tiny", None)
batches = st.tuples(st.sampled_from(("whisper", "llm")), st.sampled_from(MODELS))
# Two models that only jobs name, and running batches.
requested = st.tuples(st.sampled_from(("whisper", "llm")), st.sampled_from((*MODELS, "unknown", "other")))
offers = st.builds(
    ServiceOffer,
    unit_price=st.sampled_from((Decimal(1), Decimal(2), Decimal(3))),
    models=st.frozensets(st.sampled_from(("base", "tiny"))),
    loaded=st.frozensets(st.sampled_from(("base", "tiny"))),
    downloadable=st.booleans(),
    unavailable_models=st.frozensets(st.sampled_from(("base", "tiny")), max_size=1),
    concurrency=st.integers(1, 4),
    features=st.sampled_from(({}, {"vad": False})),
)
# One at a time, so that many jobs differ in nothing else.
DIFFERENCES: tuple[dict[str, Any], ...] = (
    {},
    {"miner_id": "miner-1"},
    {"avoid_miner_id": "miner-0"},
    {"avoid_miner_id": "miner-1", "avoid_until": 2.0},
    {"avoided": frozenset({"miner-0"})},
    {"memory": 2**34},
    {"needs": (("vad", "yes"),)},
    {"restrictions": Restrictions(excluded=frozenset({"miner-0"}))},
)
waiting_jobs = st.lists(
    st.tuples(
        requested,
        st.integers(0, 9),
        st.sampled_from(("account_1", "account_2")),
        st.sampled_from((None, Decimal(1), Decimal(2), Decimal("2.5"), Decimal(4))),
        st.sampled_from(DIFFERENCES),
    ),
    max_size=30,
).map(
    lambda drawn: [
        job(
            f"job-{number:02}",
            service=batch[0],
            model=batch[1],
            priority=priority,
            account_id=account,
            budget=budget,
            **more,
        )
        for number, (batch, priority, account, budget, more) in enumerate(drawn)
    ]
)
waiting_miners = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.dictionaries(requested, st.integers(-1, 3), max_size=3),
        st.dictionaries(st.sampled_from(("whisper", "llm")), offers, max_size=2),
        st.none() | st.integers(-1, 6),
        st.sampled_from((2**30, 2**34)),
    ),
    min_size=1,
    max_size=4,
).map(
    lambda drawn: [
        (
            miner(f"miner-{number}", slots, services=services, batch_capacity=batch_capacity, memory=memory),
            limit,
        )
        for number, (slots, batch_capacity, services, limit, memory) in enumerate(drawn)
    ]
)
Limited = tuple[Candidate, int | None]


def slots_needed(given: Counter[tuple[str, str | None]], candidate: Candidate) -> int:
    """Return how many slots the given jobs need beyond the free batch capacity, computed for all jobs at once."""
    needed = 0
    for (service, model), count in given.items():
        beyond = count - max(0, candidate.batch_capacity.get((service, model), 0))
        needed += max(0, -(-beyond // candidate.services[service].concurrency))
    return needed


def limits_of(miners: list[Limited]) -> dict[str, int]:
    return {candidate.miner_id: limit for candidate, limit in miners if limit is not None}


@settings(max_examples=300, deadline=None)
@given(jobs=waiting_jobs, miners=waiting_miners)
def test_no_miner_is_ever_assigned_more_than_its_free_capacity(
    jobs: list[Waiting], miners: list[Limited]
) -> None:
    """No job is assigned twice or to a miner that cannot run it, and no capacity stays free for which a suitable job waits."""
    candidates = Candidates(candidate for candidate, _ in miners)
    pairs = match(jobs, candidates, {}, 0.0, most=limits_of(miners))
    by_id = {waiting.job_id: waiting for waiting in jobs}
    assert len({job_id for job_id, _ in pairs}) == len(pairs)
    given: dict[str, Counter[tuple[str, str | None]]] = defaultdict(Counter)
    for job_id, candidate in pairs:
        assert fits(by_id[job_id], candidate, 0.0)
        given[candidate.miner_id][by_id[job_id].service, by_id[job_id].model] += 1
    left = [by_id[job_id] for job_id in by_id.keys() - {job_id for job_id, _ in pairs}]
    for candidate, limit in miners:
        mine = given[candidate.miner_id]
        most = 10**6 if limit is None else max(0, limit)
        assert slots_needed(mine, candidate) <= candidate.slots
        assert mine.total() <= most
        for waiting in left:
            one_more = mine + Counter({(waiting.service, waiting.model): 1})
            assert (
                mine.total() == most
                or not fits(waiting, candidate, 0.0)
                or slots_needed(one_more, candidate) > candidate.slots
            )


def searched(jobs: list[Waiting], miners: list[Limited], now: float) -> list[tuple[str, str]]:
    """Return what `match` does, by a search among all miners for each job."""
    free = {
        candidate.miner_id: FreeCapacity(
            candidate.slots,
            candidate.batch_capacity,
            {service: offer.concurrency for service, offer in candidate.services.items()},
        )
        for candidate, _ in miners
    }
    left = {candidate.miner_id: 10**6 if limit is None else limit for candidate, limit in miners}
    load: Counter[str] = Counter()
    pairs = []
    for waiting in in_turn(jobs, load, now):
        batch = (waiting.service, waiting.model)
        suitable = [
            candidate
            for candidate, _ in miners
            if left[candidate.miner_id] > 0
            and free[candidate.miner_id].accepts(*batch)
            and fits(waiting, candidate, now)
        ]
        if not suitable:
            continue

        def preference(candidate: Candidate, waiting: Waiting = waiting) -> Any:
            offer, capacity = candidate.services[waiting.service], free[candidate.miner_id]
            model = waiting.model
            return (
                candidate.miner_id == waiting.avoid_miner_id,
                model is not None and model not in offer.models | offer.loaded,
                offer.unit_price,
                not capacity.joins(waiting.service, model),
                model is not None and model not in offer.loaded,
                -capacity.slots,
                candidate.miner_id,
            )

        best = min(suitable, key=preference)
        free[best.miner_id].reserve(*batch)
        left[best.miner_id] -= 1
        load[waiting.account_id] += 1
        pairs.append((waiting.job_id, best.miner_id))
    return pairs


@settings(max_examples=200, deadline=None)
@given(
    rounds=st.lists(
        st.tuples(st.none() | waiting_jobs, waiting_miners, st.booleans()), min_size=1, max_size=6
    ),
    nobodys=st.sampled_from((2, 4096)),
    appeared=st.sampled_from((0, 2, 1000)),
    rankings=st.sampled_from((1, 2, 200)),
)
def test_miners_that_are_known_from_earlier_rounds_get_the_jobs_that_a_search_would_give_them(
    rounds: list[tuple[list[Waiting] | None, list[Limited], bool]],
    nobodys: int,
    appeared: int,
    rankings: int,
) -> None:
    """Some have changed between two rounds, others are the same, and so are the jobs of some rounds."""
    candidates = Candidates()
    present: dict[str, Candidate] = {}
    jobs: list[Waiting] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assignment, "MAX_NOBODYS", nobodys)
        patch.setattr(assignment, "MIN_APPEARED", appeared)
        patch.setattr(assignment, "MAX_RANKINGS", rankings)
        for number, (new_jobs, miners, everything) in enumerate(rounds):
            jobs = jobs if new_jobs is None else new_jobs
            drawn = {candidate.miner_id: candidate for candidate, _ in miners}
            present = drawn if everything else present | dict(list(drawn.items())[:1])
            limits = limits_of(miners)
            limited = [(candidate, limits.get(miner_id)) for miner_id, candidate in present.items()]
            candidates.update(present.values())
            pairs = match(jobs, candidates, {}, float(number), most=limits)
            found = [(job_id, candidate.miner_id) for job_id, candidate in pairs]
            assert found == searched(jobs, limited, float(number))


@pytest.mark.parametrize(
    "fields",
    [
        lambda number: {"memory": 2**50 + number},
        lambda number: {"model": f"unknown-{number}"},
        lambda number: {"budget": Decimal(number) / 1000},
        lambda number: {"budget": 1 + Decimal(number) / 100, "memory": 2**50},
    ],
    ids=["memory", "model", "price", "both"],
)
def test_jobs_that_nobody_can_run_are_examined_once(fields: Callable[[int], dict[str, Any]]) -> None:
    """Otherwise one client could delay each round by seconds."""
    offers = [replace(CHEAP, unit_price=1 + Decimal(number) / 100) for number in range(100)]
    miners = [miner(f"m{number:02}", 1, offer) for number, offer in enumerate(offers)]
    jobs = [job(f"{number:03}", **fields(number)) for number in range(300)]
    candidates = Candidates(miners)
    with pytest.MonkeyPatch.context() as patch:
        examined: list[str] = []
        for name in ("fits", "model_obstacles"):
            actual = getattr(assignment, name)
            patch.setattr(
                assignment, name, lambda *given, actual=actual: (examined.append(""), actual(*given))[1]
            )
        assert match(jobs, candidates, {}, 0.0) == []
        assert len(examined) <= 300 * 100 + 100
        for number in range(10):
            examined.clear()
            miners[number] = replace(miners[number], memory=2**40)
            candidates.update(miners)
            assert match(jobs, candidates, {}, 0.0) == []
            assert len(examined) <= 300 + 5
        miners[5] = miner("m05", 1, replace(CHEAP, downloadable=True), memory=2**60)
        candidates.update(miners)
        assert len(match(jobs, candidates, {}, 0.0)) == 1


def test_a_job_that_avoids_a_miner_gets_it_when_the_time_is_over() -> None:
    candidates = Candidates([miner("m")])
    avoiding = job("a", avoid_miner_id="m", avoid_until=5.0)
    for now in (1.0, 2.0):
        assert match([avoiding], candidates, {}, now) == []
    assert [job_id for job_id, _ in match([avoiding], candidates, {}, 5.0)] == ["a"]


@pytest.mark.parametrize("fields", [{"budget": Decimal("0.0001")}, {"avoided": frozenset({"m"})}])
def test_a_job_that_nobody_can_run_hinders_no_other_one(fields: dict[str, Any]) -> None:
    jobs = [job("a", **fields), job("b", budget=Decimal(1))]
    candidates = Candidates([miner("m", 2)])
    for _ in range(2):
        assert [job_id for job_id, _ in match(jobs, candidates, {}, 0.0)] == ["b"]


def test_jobs_with_the_same_unknown_model_join_one_batch() -> None:
    offer = replace(BATCHED, downloadable=True, unit_price=Decimal(1))
    dearer = replace(offer, unit_price=Decimal(2))
    miners = [miner("cheap", 1, offer), miner("dear", 2, dearer)]
    jobs = [job(f"{number}", model=model) for number, model in enumerate(("new", "new", "newer", "new"))]
    pairs = match(jobs, Candidates(miners), {}, 0.0)
    names = {job_id: candidate.miner_id for job_id, candidate in pairs}
    assert names == {"0": "cheap", "1": "cheap", "2": "dear", "3": "cheap"}


def test_a_job_that_comes_back_is_examined_against_all_that_have_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also against those whose changes are no longer known one by one."""
    monkeypatch.setattr(assignment, "MIN_APPEARED", 0)
    large = job("a", memory=2**34)
    miners = [miner(f"m{number}", memory=2**30) for number in range(3)]
    candidates = Candidates(miners)
    assert match([large], candidates, {}, 0.0) == []
    miners[0] = replace(miners[0], memory=2**35)
    for number in range(10):
        miners[1] = replace(miners[1], capacity=number + 1)
        candidates.update(miners)
        assert match([job("b", memory=2**36, gpus=9)], candidates, {}, 0.0) == []
    assert match([large], candidates, {}, 0.0) == [("a", miners[0])]


def test_the_orders_of_the_least_recently_used_models_are_dropped() -> None:
    """And are made again."""
    models = frozenset(f"model-{number}" for number in range(MAX_RANKINGS + 3))
    miners = [miner(f"m{number}", 1, replace(CHEAP, models=models)) for number in range(3)]
    candidates = Candidates(miners)
    for _ in range(2):
        for number in range(MAX_RANKINGS + 3):
            pairs = match([job("a", model=f"model-{number}")], candidates, {}, 0.0)
            assert pairs == [("a", miners[0])]


def test_the_time_of_a_round_does_not_depend_on_the_miners_that_have_not_changed() -> None:
    """Counted by the miners whose suitability is examined."""
    miners = [miner(f"m{number:04}") for number in range(1000)]
    candidates = Candidates(miners)
    examined = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assignment, "model_obstacles", lambda _, offer: iter(examined.append(offer) or ()))
        for number in range(10):
            assert match([job("a")], candidates, {}, 0.0) == [("a", miners[number])]
            miners[number] = replace(miners[number], slots=0)
            candidates.update(miners)
    assert 1000 <= len(examined) < 1050


@given(
    slots=st.integers(0, 4),
    batch_capacity=st.dictionaries(batches, st.integers(-2, 4), max_size=4),
    concurrency=st.dictionaries(st.sampled_from(("whisper", "llm")), st.integers(1, 4)),
    requests=st.lists(batches, max_size=40),
)
def test_free_capacity_predicts_what_it_accepts(
    slots: int,
    batch_capacity: dict[tuple[str, str | None], int],
    concurrency: dict[str, int],
    requests: list[tuple[str, str | None]],
) -> None:
    """And it never becomes negative."""
    free = FreeCapacity(slots, batch_capacity, concurrency)
    for service, model in requests:
        expected = free.accepts(service, model)
        before = (free.slots, dict(free.batch_capacity))
        assert free.reserve(service, model) is expected
        assert bool(free) or not (free.slots or free.batch_capacity)
        assert free.slots >= 0
        assert all(count > 0 for count in free.batch_capacity.values())
        assert expected or (free.slots, dict(free.batch_capacity)) == before
