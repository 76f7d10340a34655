"""Dispatch of submitted jobs to a connected miner."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from agent.coordinator.dispatch import dispatcher
from agent.coordinator.dispatch.port import LeaseMessage, Port
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.jobs import submit
from support.server import Served


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

    def deliver(lease: LeaseMessage) -> bool:
        delivered.append(lease)
        return True

    port = Port(
        miner.miner_id,
        session=1,
        deliver=deliver,
        cancelled=lambda *_: None,
        heartbeat=lambda: None,
        close=lambda _: None,
        capabilities=capabilities(),
    )
    port.set_free(4, {}, 0)

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
