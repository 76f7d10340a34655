"""Jobs whose offer's miner is away are found on PostgreSQL while a transaction of another program holds a snapshot."""

from __future__ import annotations

import time

import httpx
import pytest
from sqlalchemy import Connection

from agent.coordinator.features.offers import store
from agent.coordinator.features.replicas.store import unfinished
from agent.core.values.quantities import make_id
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import submit
from support.server import Served
from support.servers.held_snapshots import FEW, complete, counted_knowing, held_snapshot

pytestmark = pytest.mark.usefixtures("on_postgresql")


def stranded(connection: Connection) -> set[str]:
    return set(store.stranded(connection, 2.0**33))


@pytest.mark.ship
def test_the_query_passes_only_jobs_that_are_recent_or_unfinished(
    served: Served, client: httpx.Client, miner: ScriptedMiner
) -> None:
    submit(client)
    assert len(miner.poll()) == 1  # runs all the time
    with held_snapshot(served):
        complete(served, client, miner)
        newest = make_id("job", time.time() + 1, bytes(10))
        older = served.context.database.read_now(unfinished.scan, newest)
        job_ids, entries = counted_knowing(served, older, "jobs", stranded)
        assert job_ids == counted_knowing(served, None, "jobs", stranded)[0]
        assert entries <= FEW
