"""The rounds of matching: what is known from earlier ones changes no assignment, and saves the search."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core import ranked_miners
from agent.core.assignment import AllMiners, Miners, match
from agent.core.matching import (
    Candidate,
    CandidateService,
    Restrictions,
    Waiting,
    fits,
    fits_at_any_price,
)
from agent.core.ranked_miners import RankedMiners
from support.candidates import BATCHED, CHEAP, job, miner

MODELS = ("base", "tiny", None)
# Two models that only jobs name, and running batches.
requested = st.tuples(st.sampled_from(("whisper", "llm")), st.sampled_from((*MODELS, "unknown", "other")))
offers = st.builds(
    CandidateService,
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


@settings(max_examples=3 * settings().max_examples, deadline=None)
@given(jobs=waiting_jobs, miners=waiting_miners, kind=st.sampled_from((AllMiners, RankedMiners)))
def test_no_miner_is_ever_assigned_more_than_its_free_capacity(
    jobs: list[Waiting], miners: list[Limited], kind: Callable[[Iterable[Candidate]], Miners]
) -> None:
    """No job is assigned twice or to a miner that cannot run it, and no capacity stays free for which a suitable job waits."""
    candidates = kind(candidate for candidate, _ in miners)
    pairs = match(jobs, candidates, {}, 0.0, max_jobs=limits_of(miners))
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


@settings(max_examples=2 * settings().max_examples, deadline=None)
@given(
    rounds=st.lists(
        st.tuples(st.none() | waiting_jobs, waiting_miners, st.booleans()), min_size=1, max_size=6
    ),
    searches=st.sampled_from((1, 2, 4096)),
    changes=st.sampled_from((0, 2, 1000)),
    suitable=st.sampled_from((1, 2, 1000)),
)
def test_what_earlier_rounds_have_found_changes_no_assignment(
    rounds: list[tuple[list[Waiting] | None, list[Limited], bool]],
    searches: int,
    changes: int,
    suitable: int,
) -> None:
    """Some have changed between two rounds, others are the same, and so are the jobs of some rounds."""
    candidates = RankedMiners()
    present: dict[str, Candidate] = {}
    jobs: list[Waiting] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranked_miners, "MAX_SEARCHES", searches)
        patch.setattr(ranked_miners, "MIN_CHANGES", changes)
        patch.setattr(ranked_miners, "MAX_SUITABLE", suitable)
        for number, (new_jobs, miners, everything) in enumerate(rounds):
            jobs = jobs if new_jobs is None else new_jobs
            drawn = {candidate.miner_id: candidate for candidate, _ in miners}
            present = drawn if everything else present | dict(list(drawn.items())[:1])
            limits = limits_of(miners)
            candidates.update(present.values())
            by_the_rule = match(jobs, AllMiners(present.values()), {}, float(number), max_jobs=limits)
            assert match(jobs, candidates, {}, float(number), max_jobs=limits) == by_the_rule


def counted(patch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of the miners whose suitability is examined from now on."""
    examined: list[str] = []

    def noted(waiting: Waiting, candidate: Candidate, now: float) -> bool:
        examined.append(candidate.miner_id)
        return fits_at_any_price(waiting, candidate, now)

    patch.setattr(ranked_miners, "fits_at_any_price", noted)
    return examined


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
    candidates = RankedMiners(miners)
    with pytest.MonkeyPatch.context() as patch:
        examined = counted(patch)
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
    candidates = RankedMiners([miner("m")])
    avoiding = job("a", avoid_miner_id="m", avoid_until=5.0)
    for now in (1.0, 2.0):
        assert match([avoiding], candidates, {}, now) == []
    assert [job_id for job_id, _ in match([avoiding], candidates, {}, 5.0)] == ["a"]


@pytest.mark.parametrize("fields", [{"budget": Decimal("0.0001")}, {"avoided": frozenset({"m"})}])
def test_a_job_that_nobody_can_run_hinders_no_other_one(fields: dict[str, Any]) -> None:
    jobs = [job("a", **fields), job("b", budget=Decimal(1))]
    candidates = RankedMiners([miner("m", 2)])
    for _ in range(2):
        assert [job_id for job_id, _ in match(jobs, candidates, {}, 0.0)] == ["b"]


def test_jobs_with_the_same_unknown_model_join_one_batch() -> None:
    offer = replace(BATCHED, downloadable=True, unit_price=Decimal(1))
    dearer = replace(offer, unit_price=Decimal(2))
    miners = [miner("cheap", 1, offer), miner("dear", 2, dearer)]
    jobs = [job(f"{number}", model=model) for number, model in enumerate(("new", "new", "newer", "new"))]
    pairs = match(jobs, RankedMiners(miners), {}, 0.0)
    names = {job_id: candidate.miner_id for job_id, candidate in pairs}
    assert names == {"0": "cheap", "1": "cheap", "2": "dear", "3": "cheap"}


def test_a_job_that_comes_back_is_examined_against_all_that_have_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also against those whose changes are no longer known one by one."""
    monkeypatch.setattr(ranked_miners, "MIN_CHANGES", 0)
    large = job("a", memory=2**34)
    miners = [miner(f"m{number}", memory=2**30) for number in range(3)]
    candidates = RankedMiners(miners)
    assert match([large], candidates, {}, 0.0) == []
    miners[0] = replace(miners[0], memory=2**35)
    for number in range(10):
        miners[1] = replace(miners[1], capacity=number + 1)
        candidates.update(miners)
        assert match([job("b", memory=2**36, gpus=9)], candidates, {}, 0.0) == []
    assert match([large], candidates, {}, 0.0) == [("a", miners[0])]


def test_searches_of_the_least_recently_used_models_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """And are made again."""
    monkeypatch.setattr(ranked_miners, "MAX_SEARCHES", 10)
    models = frozenset(f"model-{number}" for number in range(13))
    miners = [miner(f"m{number}", 1, replace(CHEAP, models=models)) for number in range(3)]
    candidates = RankedMiners(miners)
    for _ in range(2):
        for number in range(13):
            pairs = match([job("a", model=f"model-{number}")], candidates, {}, 0.0)
            assert pairs == [("a", miners[0])]


def test_the_time_of_a_round_does_not_depend_on_the_miners_that_have_not_changed() -> None:
    """Counted by the miners whose suitability is examined."""
    miners = [miner(f"m{number:04}") for number in range(1000)]
    candidates = RankedMiners(miners)
    with pytest.MonkeyPatch.context() as patch:
        examined = counted(patch)
        for number in range(10):
            assert match([job("a")], candidates, {}, 0.0) == [("a", miners[number])]
            miners[number] = replace(miners[number], slots=0)
            candidates.update(miners)
    assert 10 <= len(examined) < 50
