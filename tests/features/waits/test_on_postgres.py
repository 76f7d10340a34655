"""Waiting jobs are found on PostgreSQL while a transaction of another program holds a snapshot."""

from __future__ import annotations

import time

import httpx
import pytest
from sqlalchemy import Connection

from agent.coordinator.features.replicas.store import unfinished
from agent.coordinator.features.waits import store
from agent.core.values.quantities import make_id
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.jobs import submit
from support.server import Served
from support.servers.held_snapshots import FEW, complete, counted_knowing, held_snapshot

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("on_postgresql")]


def waiting(connection: Connection) -> set[str]:
    return {record.job_id for record in store.waiting_since(connection, 2.0**33, 10)}


def test_the_query_passes_only_jobs_that_are_recent_or_unfinished(
    served: Served, client: httpx.Client, miner: ScriptedMiner
) -> None:
    able = capabilities()
    able["services"]["whisper_transcription"]["models"] = ["large-v3"]
    assert ScriptedMiner(served.url).register(capabilities=able).is_success
    waiting_job = submit(client, model="large-v3")
    with held_snapshot(served):
        complete(served, client, miner)
        newest = make_id("job", time.time() + 1, bytes(10))
        older = served.context.database.read_now(unfinished.scan, newest)
        job_ids, entries = counted_knowing(served, older, "jobs", waiting)
        assert job_ids == counted_knowing(served, None, "jobs", waiting)[0] == {waiting_job}
        assert entries <= FEW
