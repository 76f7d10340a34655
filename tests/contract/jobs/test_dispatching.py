"""Dispatch of submitted jobs to a connected miner."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from agent.coordinator import hooks
from agent.coordinator.dispatch import dispatcher, reputations
from agent.coordinator.dispatch.claims import Earlier
from agent.coordinator.dispatch.reputations import VALID_SECONDS, WANTED_SECONDS, Reputations
from agent.coordinator.port import LeaseMessage, Port, candidate_of
from agent.coordinator.store import queue
from agent.core import ranked_miners
from agent.core.matching import NEUTRAL, Candidate, Restrictions, Waiting, fits_at_any_price
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.jobs import submit
from support.server import Served


def _port(miner_id: str, delivered: list[LeaseMessage], slots: int = 1) -> Port:
    def deliver(lease: LeaseMessage) -> bool:
        delivered.append(lease)
        return True

    port = Port(
        miner_id,
        session=1,
        deliver=deliver,
        cancelled=lambda *_: None,
        heartbeat=lambda: None,
        close=lambda _: None,
        capabilities=capabilities(),
    )
    port.set_free(slots, {}, 0)
    return port


@pytest.mark.sqlite
def test_a_submitted_job_needs_one_claim_even_if_the_miner_has_capacity_left(
    client: httpx.Client, served: Served, miner: ScriptedMiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dispatcher wakes once: the claim follows the insertion in the queue of writes, so it finds the job."""
    rounds: list[int] = []
    delivered: list[LeaseMessage] = []
    actual = dispatcher.claim

    def counted(*args: Any) -> Any:
        assignments, left = actual(*args)
        rounds.append(len(assignments))
        return assignments, left

    port = _port(miner.miner_id, delivered, slots=4)

    async def flush_writes(context: Any) -> None:
        await context.database.write(lambda _: None)

    async def attach(context: Any) -> None:
        context.dispatcher.attach(port)

    monkeypatch.setattr(dispatcher, "claim", counted)
    served.do(attach)
    served.do(flush_writes)
    rounds.clear()
    job_ids = [submit(client) for _ in range(3)]
    served.do(flush_writes)
    assert [lease["job_id"] for lease in delivered] == job_ids
    assert rounds == [1, 1, 1]


def test_a_round_that_fails_leaves_nothing_to_the_next_one(
    client: httpx.Client, miner: ScriptedMiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier: list[Earlier] = []
    actual = dispatcher.claim

    def fails_once(*args: Any) -> Any:
        assignments = actual(*args)
        earlier.append(args[-1])
        if len(earlier) == 1:
            raise RuntimeError("fails")
        return assignments

    monkeypatch.setattr(dispatcher, "claim", fails_once)
    job_id = submit(client)
    assert [lease["job_id"] for lease in miner.poll()] == [job_id]
    assert earlier[0] is not earlier[1]


def _examined(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of the miners whose suitability is examined from now on."""
    examined: list[str] = []

    def counted(job: Waiting, candidate: Candidate, now: float) -> bool:
        examined.append(candidate.miner_id)
        return fits_at_any_price(job, candidate, now)

    monkeypatch.setattr(ranked_miners, "fits_at_any_price", counted)
    return examined


@pytest.mark.sqlite
def test_a_round_examines_only_miners_that_have_changed(
    client: httpx.Client, served: Served, miner: ScriptedMiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that wait for other work are examined once."""
    examined = _examined(monkeypatch)
    idle = [_port(f"miner_{number}", []) for number in range(50)]
    busy = _port(miner.miner_id, delivered := [])

    async def attach(context: Any) -> None:
        for port in (*idle, busy):
            context.dispatcher.attach(port)

    async def free(context: Any) -> None:
        context.dispatcher.set_free(busy, 1, {}, len(delivered))

    async def flush_writes(context: Any) -> None:
        await context.database.write(lambda _: None)

    for port in idle:
        port.capabilities["services"]["whisper_transcription"]["models"] = ["large-v3"]
        port.capabilities = port.capabilities
    served.do(attach)
    for _ in range(4):
        submit(client)
        served.do(flush_writes)
        served.do(free)
        served.do(flush_writes)
    assert len(delivered) == 4
    assert 4 <= len(examined) < 50


@pytest.mark.sqlite
def test_a_job_whose_reputation_nobody_has_delays_no_round(
    client: httpx.Client, served: Served, miner: ScriptedMiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reputations are read once in a while, and the miners are examined once."""
    examined = _examined(monkeypatch)
    read: list[float] = []

    def noted(connection: Any, now: float, miner_ids: Any) -> Any:
        read.append(now)
        return hooks.track_records(connection, now, miner_ids)

    # Only those of the rounds: the fleet, which is read for each submission, has its own.
    monkeypatch.setattr(reputations, "hooks", SimpleNamespace(track_records=noted))
    idle = [_port(f"miner_{number}", []) for number in range(50)]
    busy = _port(miner.miner_id, delivered := [])

    async def attach(context: Any) -> None:
        for port in (*idle, busy):
            port.capabilities["services"]["whisper_transcription"]["unit_price"] = "0.002"
            port.capabilities = port.capabilities
            context.dispatcher.attach(port)

    async def flush_writes(context: Any) -> None:
        await context.database.write(lambda _: None)

    waiting = submit(client, min_reputation=4.9, wait=True)
    served.do(attach)
    for _ in range(4):
        submit(client, miner_id=miner.miner_id)
        served.do(flush_writes)

        async def free(context: Any) -> None:
            context.dispatcher.set_free(busy, 1, {}, len(delivered))

        served.do(free)
        served.do(flush_writes)
    assert len(delivered) == 4
    assert waiting not in [lease["job_id"] for lease in delivered]
    assert len(read) == 1
    assert 50 < len(examined) < 200


def test_a_reputation_is_read_again_after_a_while(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with_reputations, now = Reputations(), served.context.clock()
    ports = [_port(f"miner_{number}", []) for number in range(3)]
    restrictions = Restrictions(min_reputation=4)
    job = Waiting("job_1", "acct_1", "whisper_transcription", "base", 1, now, restrictions=restrictions)
    read: dict[str, hooks.TrackRecord] = {}
    monkeypatch.setattr(hooks, "track_records", lambda *_: dict(read))

    def added(seconds: float, *jobs: Waiting) -> Sequence[Candidate]:
        def function(connection: Any) -> Sequence[Candidate]:
            return with_reputations.added(
                connection, jobs, [port.candidate() for port in ports], now + seconds
            )

        return served.do(lambda context: context.database.read(function))

    assert added(0) == [port.candidate() for port in ports]
    first = added(1, job)
    assert {one.reputation for one in first} == {NEUTRAL}
    read["miner_1"] = hooks.TrackRecord(reputation=1.0)
    assert all(one is other for one, other in zip(added(5), first, strict=True))
    ports[2].set_free(3, {}, 0)
    again = added(VALID_SECONDS + 1)
    assert again[0] is first[0]
    assert again[1].reputation < NEUTRAL
    assert (again[2].slots, again[2].reputation) == (3, NEUTRAL)
    assert added(WANTED_SECONDS + 1) == [port.candidate() for port in ports]


@pytest.mark.parametrize("count", [1600, 10_001])
def test_a_long_queue_is_read_for_any_number_of_miners(
    client: httpx.Client, served: Served, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """The more memory these miners have, the more they cost, so none of them can run all that another one can."""
    monkeypatch.setattr(queue, "CLAIM_WINDOW", 4)
    for _ in range(4):
        submit(client, resources={"memory": "4Ti"}, priority=9)
    cheap = submit(client, pricing={"max_cost": "0.00000002"})
    large = submit(client, resources={"memory": "1500Mi"}, pricing={"max_cost": "1"})
    chosen = served.do(lambda context: context.database.read(queue.waiting, _miners(count)))
    assert {job.job_id for job in chosen} == {cheap, large}


def _miners(count: int) -> list[Candidate]:
    found = []
    for number in range(1, count + 1):
        offered = capabilities(memory=number * 2**20)
        offered["services"] = {"whisper_transcription": offered["services"]["whisper_transcription"]}
        offered["services"]["whisper_transcription"]["unit_price"] = f"{number * 1e-8:.8f}"
        found.append(candidate_of(f"miner_{number}", 1, 1, offered))
    return found
