"""Dispatch of submitted jobs to a connected miner."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from agent.coordinator.dispatch import dispatcher
from agent.coordinator.dispatch.port import LeaseMessage, Port, candidate_of
from agent.coordinator.store import queue
from agent.core import assignment
from agent.core.matching import Candidate, ServiceOffer
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
    ranked: list[assignment.Candidates] = []
    actual = dispatcher.claim

    def fails_once(*args: Any) -> Any:
        assignments = actual(*args)
        ranked.append(args[-1])
        if len(ranked) == 1:
            raise RuntimeError("fails")
        return assignments

    monkeypatch.setattr(dispatcher, "claim", fails_once)
    job_id = submit(client)
    assert [lease["job_id"] for lease in miner.poll()] == [job_id]
    assert ranked[0] is not ranked[1]


@pytest.mark.sqlite
def test_a_round_examines_only_miners_that_have_changed(
    client: httpx.Client, served: Served, miner: ScriptedMiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that wait for other work are examined once."""
    examined: list[str | None] = []
    actual = assignment.model_obstacles

    def counted(model: str | None, offer: ServiceOffer) -> Any:
        examined.append(model)
        return actual(model, offer)

    monkeypatch.setattr(assignment, "model_obstacles", counted)
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
    assert 50 < len(examined) < 100


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
