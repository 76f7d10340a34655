"""Which miner gets which job."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from agent.core.matching import AGEING_SECONDS, Candidate, ServiceOffer, Waiting, fits, match

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
    return [(job_id, candidate.miner_id) for job_id, candidate in match(jobs, miners, running, now)]


def test_urgent_jobs_go_first() -> None:
    assert matched([job("a"), job("b", priority=5)], [miner("m")]) == [("b", "m")]


def test_a_low_priority_job_is_not_starved() -> None:
    """Fresh urgent jobs keep coming; the old one gets its turn once its age makes up for its priority."""
    old = job("old", submitted_at=0.0)
    for minute in range(1, 30):
        now = minute * AGEING_SECONDS
        fresh = job(f"fresh-{minute}", priority=9, submitted_at=now)
        if matched([old, fresh], [miner("m")], now)[0][0] == "old":
            assert minute <= 10
            return
    raise AssertionError("the old job never ran")


def test_equal_jobs_share_between_clients() -> None:
    """A client with a hundred jobs does not keep another from its first."""
    crowd = [job(f"crowd-{number:03}", account_id="crowd") for number in range(100)]
    single = job("single", account_id="single", submitted_at=50.0)
    first_two = matched([*crowd, single], [miner("m", slots=2)], now=50.0)
    assert ("single", "m") in first_two
    assert matched([crowd[0], single], [miner("m")], now=50.0, crowd=3) == [("single", "m")]


def test_a_miner_with_the_model_loaded_is_preferred_then_on_disk_then_cheapest() -> None:
    wanted = job("a", model="base")
    loaded = ServiceOffer(Decimal(9), frozenset({"base"}), frozenset({"base"}))
    disk = ServiceOffer(Decimal(5), frozenset({"base"}))
    download = ServiceOffer(Decimal(1), downloadable=True)
    offers = {"l": loaded, "d": disk, "x": download}
    assert matched([wanted], [miner(name, offer=offer) for name, offer in offers.items()]) == [("a", "l")]
    assert matched([wanted], [miner("d", offer=disk), miner("x", offer=download)]) == [("a", "d")]
    dear = ServiceOffer(Decimal(6), frozenset({"base"}))
    assert matched([wanted], [miner("dear", offer=dear), miner("d", offer=disk)]) == [("a", "d")]


def test_a_job_comes_back_to_the_miner_that_failed_it_only_after_a_while() -> None:
    failed = job("a", avoid_miner_id="m", avoid_until=10.0)
    assert matched([failed], [miner("m")], now=9.9) == []
    assert matched([failed], [miner("m")], now=10.0) == [("a", "m")]


def test_what_does_not_fit_is_not_given() -> None:
    assert not fits(job("a", service="ffmpeg"), miner("m"), 0.0)
    assert not fits(job("a", model="large"), miner("m"), 0.0)
    assert not fits(job("a", gpus=1), miner("m"), 0.0)
    assert not fits(job("a", memory=2**34), miner("m"), 0.0)
    assert not fits(job("a", cpu=Decimal(5)), miner("m"), 0.0)
    assert not fits(job("a", miner_id="other"), miner("m"), 0.0)
    assert fits(job("a", miner_id="m", gpus=1), miner("m", gpus=1), 0.0)


def test_no_miner_gets_more_than_its_slots() -> None:
    pairs = matched([job(str(number)) for number in range(10)], [miner("m", 2), miner("n", 3)])
    assert sorted(name for _, name in pairs) == ["m", "m", "n", "n", "n"]


def test_a_job_avoids_the_miner_that_failed_it_while_another_waits() -> None:
    failed = job("a", avoid_miner_id="m")
    assert matched([failed], [miner("m"), miner("n")]) == [("a", "n")]
    assert matched([failed], [miner("m")]) == [("a", "m")]
