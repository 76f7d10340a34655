"""Limits on miners that release many jobs and on clients whose jobs fail repeatedly by their own fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.coordinator.features.throttling import store as throttling
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import job, submit
from support.server import Served, serve

RESULTS = {"text": "hello", "units": 1}


def reputation(client: httpx.Client, miner: ScriptedMiner) -> float:
    value: float = client.get(f"/v1/miners/{miner.miner_id}/stats").raise_for_status().json()["reputation"]
    return value


def claim_and_release(client: httpx.Client, miner: ScriptedMiner) -> bool:
    """Submit a job and return whether the miner got one, which it then released."""
    submit(client)
    held = miner.poll(wait=0.5)
    for lease in held:
        miner.job(lease, "release", reason="").raise_for_status()
    return bool(held)


def test_repeated_claims_and_releases_are_penalised(
    client: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    """After a tolerated number the miner gets no jobs for a while and its reputation falls; its jobs go to another miner."""
    tolerated = int(served.context.settings.releases_tolerated)
    before = reputation(client, miner)
    for _ in range(tolerated):
        assert claim_and_release(client, miner)
    assert reputation(client, miner) == before
    assert claim_and_release(client, miner)
    assert reputation(client, miner) < before
    assert not claim_and_release(client, miner)
    honest = ScriptedMiner(served.url)
    honest.register()
    assert len(honest.poll(slots=20)) >= tolerated


def test_a_job_is_not_assigned_again_to_a_miner_that_released_it_twice(
    client: httpx.Client, miner: ScriptedMiner
) -> None:
    submit(client)
    for expected in (1, 1, 0):
        held = miner.poll(wait=0.5)
        assert len(held) == expected
        for lease in held:
            miner.job(lease, "release", reason="").raise_for_status()


def test_a_shutdown_counts_as_one_release(client: httpx.Client, served: Served, miner: ScriptedMiner) -> None:
    before = reputation(client, miner)
    for _ in range(12):
        submit(client)
    held: list[dict[str, Any]] = []
    while len(held) < 12:
        held += miner.poll(slots=12 - len(held))
    for lease in held:
        miner.job(lease, "release", reason="shutdown").raise_for_status()
    releases = served.do(lambda context: context.database.read(throttling.releases_of, miner.miner_id))
    assert (releases.tally.count, releases.pause_until) == (1, 0)
    assert reputation(client, miner) == before


@pytest.mark.parametrize("code", ["OUT_OF_MEMORY", "NO_MEMORY"])
def test_a_job_that_exceeds_the_memory_is_no_machine_fault(
    client: httpx.Client, miner: ScriptedMiner, code: str
) -> None:
    before = reputation(client, miner)
    job_id = submit(client, max_attempts=1)
    failure = {"kind": "retry", "code": code, "message": "8192x8192 takes more memory than there is."}
    miner.job(miner.poll()[0], "fail", **failure).raise_for_status()
    assert job(client, job_id)["status"] == "failed"
    assert reputation(client, miner) == before


def test_failures_attributed_to_clients_are_shown(client: httpx.Client, miner: ScriptedMiner) -> None:
    submit(client)
    failure = {"kind": "fail", "code": "INPUT_INVALID", "message": "No audio.", "units": "1"}
    miner.job(miner.poll()[0], "fail", **failure).raise_for_status()
    stats = client.get(f"/v1/miners/{miner.miner_id}/stats").json()
    assert (stats["client_failures"], stats["failed_runs"]) == (1, 0)


def test_an_account_that_causes_many_failures_runs_one_job_at_a_time(tmp_path: Path) -> None:
    with serve(tmp_path / "data", open_enrolment=True, client_failures_tolerated=2) as served:
        miner = ScriptedMiner(served.url)
        miner.register()
        clients = [
            httpx.Client(base_url=served.url, headers={"X-API-Key": key})
            for key in (served.client_key, served.other_key)
        ]
        careless, other = clients
        failure = {"kind": "fail", "code": "LIMIT_EXCEEDED", "message": "Too much."}
        for _ in range(3):
            submit(careless)
            miner.job(miner.poll()[0], "fail", **failure).raise_for_status()
        for client in clients:
            for _ in range(3):
                submit(client)
        held: list[dict[str, Any]] = []
        while len(held) < 4:
            held += miner.poll(slots=6)
        assert miner.poll(slots=6, wait=0.5) == []
        assert sum(job(other, lease["job_id"]).get("status") == "running" for lease in held) == 3
        for lease in held:
            assert miner.complete(lease, RESULTS).status_code == 200
        assert len(miner.poll(slots=6)) == 1
