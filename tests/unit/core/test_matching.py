"""Which miner gets which job."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from agent.core.assignment import AllMiners, match
from agent.core.matching import AGEING_SECONDS, Candidate, CandidateService, FreeCapacity, Waiting, fits
from support.candidates import BATCHED, CHEAP, job, miner

batches = st.tuples(st.sampled_from(("whisper", "llm")), st.sampled_from(("base", "tiny", None)))


def matched(
    jobs: list[Waiting], miners: list[Candidate], now: float = 0.0, **running: int
) -> list[tuple[str, str]]:
    return [
        (job_id, candidate.miner_id) for job_id, candidate in match(jobs, AllMiners(miners), running, now)
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
    loaded = CandidateService(Decimal(9), frozenset({"base"}), frozenset({"base"}))
    disk = CandidateService(Decimal(5), frozenset({"base"}))
    download = CandidateService(Decimal(1), downloadable=True)
    offers = {"l": loaded, "d": disk, "x": download}
    assert matched([requested], [miner(name, offer=offer) for name, offer in offers.items()]) == [("a", "d")]
    assert matched([requested], [miner("l", offer=loaded), miner("x", offer=download)]) == [("a", "l")]
    assert matched([requested], [miner("x", offer=download)]) == [("a", "x")]


def test_among_equal_prices_a_loaded_model_is_preferred() -> None:
    requested = job("a", model="base")
    loaded = CandidateService(Decimal(5), frozenset({"base"}), frozenset({"base"}))
    disk = CandidateService(Decimal(5), frozenset({"base"}))
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
    loaded = CandidateService(Decimal(9), frozenset({"base"}), frozenset({"base"}), concurrency=4)
    batch = miner("z", 1, loaded, batch_capacity={("whisper", "base"): 1})
    assert matched([requested], [miner("a", 4, loaded), batch]) == [("a", "z")]
    assert matched([replace(requested, avoid_miner_id="z")], [miner("a", 4, loaded), batch]) == [("a", "a")]
    cheap = replace(loaded, unit_price=Decimal(8), loaded=frozenset())
    assert matched([requested], [miner("a", 4, cheap), batch]) == [("a", "a")]


def test_a_miner_gets_no_job_for_a_model_that_it_reports_as_unavailable() -> None:
    offer = CandidateService(
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
        assert len(match(jobs, AllMiners([miner("m", 2, BATCHED)]), {}, 0.0, max_jobs={"m": limit})) == count


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
