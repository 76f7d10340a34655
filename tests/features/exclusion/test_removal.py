"""Removal of a miner by an operator: its work goes to others, its record stays, and it can enrol again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.coordinator.features.exclusion import exclusion, store
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import job, submit
from support.server import Served, serve

RESULTS = {"text": "hello", "units": 100}


def remove(admin: httpx.Client, miner: ScriptedMiner) -> dict[str, Any]:
    answer: dict[str, Any] = admin.delete(f"/v1/admin/miners/{miner.miner_id}").raise_for_status().json()
    return answer


def owner_of(served: Served, miner: ScriptedMiner) -> httpx.Client:
    headers = {"X-API-Key": miner.registration["api_key"]}
    return httpx.Client(base_url=served.url, headers=headers, timeout=120)


def test_the_work_of_a_removed_miner_goes_to_others(
    served: Served, client: httpx.Client, admin: httpx.Client, miner: ScriptedMiner
) -> None:
    """Its session ends, its late result is refused, and its job runs elsewhere without the loss of an attempt."""
    job_id = submit(client, max_attempts=1)
    lease = miner.poll()[0]
    assert remove(admin, miner)["requeued_jobs"] == 1
    assert job(client, job_id)["status"] == "submitted"
    for answer in (miner.http.post("/poll", json={"slots": 1, "wait": 0}), miner.complete(lease, RESULTS)):
        assert answer.status_code == 401
    other = ScriptedMiner(served.url)
    other.register()
    again = other.poll()[0]
    assert (again["job_id"], again["attempt"]) == (job_id, 1)
    assert other.complete(again, RESULTS).status_code == 200


def test_receipts_statistics_and_earnings_stay(
    served: Served, client: httpx.Client, admin: httpx.Client, miner: ScriptedMiner
) -> None:
    """The owner's key still shows the earnings, and commands nothing."""
    job_id = submit(client)
    assert miner.complete(miner.poll()[0], RESULTS).status_code == 200
    with owner_of(served, miner) as owner:
        earned = owner.get("/v1/wallet").json()["balance"]
        stats = client.get(f"/v1/miners/{miner.miner_id}/stats").json()
        remove(admin, miner)
        receipt = client.get(f"/v1/receipts/{job_id}").json()
        assert receipt["miner_id"] == miner.miner_id
        assert client.post("/v1/receipts/verify", json={"receipt": receipt}).json()["valid"]
        assert owner.get("/v1/wallet").json()["balance"] == earned != "0"
        assert owner.get(f"/v1/miners/{miner.miner_id}/earnings").json()["total"] == earned
        assert client.get(f"/v1/miners/{miner.miner_id}/stats").json() == stats
        for refused in (
            owner.get(f"/v1/miners/{miner.miner_id}"),
            owner.post(f"/v1/miners/{miner.miner_id}/commands", json={"command": "pause"}),
            admin.delete(f"/v1/admin/miners/{miner.miner_id}"),
        ):
            assert refused.status_code == 404
        explained = owner.get(f"/v1/miners/{miner.miner_id}").json()["error"]["message"]
        assert "was removed from this network at" in explained
    assert admin.get("/v1/admin/overview").json()["miners"] == []
    assert client.get("/v1/marketplace/stats").json()["active_miners"] == 0


def test_a_removed_miner_joins_again_only_with_a_token(tmp_path: Path) -> None:
    """It continues with its identity and its earnings, and no session from before is valid."""
    with serve(tmp_path / "data") as served, httpx.Client(base_url=served.url, timeout=120) as admin:
        admin.headers["X-API-Key"] = served.admin_key

        def token() -> str:
            made: str = admin.post("/v1/admin/enrolments", json={}).json()["enrolment_token"]
            return made

        miner = ScriptedMiner(served.url)
        miner.register(enrolment_token=token())
        first = dict(miner.http.headers)
        remove(admin, miner)
        refused = miner.register()
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "FORBIDDEN")
        body = {"enrolment_token": None, "proof": None}
        assert not miner.http.post("/admission", json=body).json()["admitted"]
        assert miner.register(enrolment_token=token()).status_code == 200
        assert (miner.registration["session"], bool(miner.registration["api_key"])) == (2, True)
        (shown,) = admin.get("/v1/admin/overview").json()["miners"]
        assert shown["miner_id"] == miner.miner_id
        old = httpx.post(
            f"{served.url}/v1/miners/poll",
            json={"slots": 1},
            headers={"Authorization": first["authorization"]},
        )
        assert old.status_code in (401, 409)


def test_an_exclusion_outlives_the_removal(served: Served, admin: httpx.Client, miner: ScriptedMiner) -> None:
    admin.post(f"/v1/admin/miners/{miner.miner_id}/exclude").raise_for_status()
    remove(admin, miner)
    assert miner.register().json()["error"]["code"] == "MINER_EXCLUDED"
    admin.post(f"/v1/admin/miners/{miner.miner_id}/include").raise_for_status()
    assert miner.register().status_code == 200


def test_a_removal_that_is_interrupted_changes_nothing(
    served: Served,
    client: httpx.Client,
    admin: httpx.Client,
    miner: ScriptedMiner,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last step fails: the jobs are not queued, and the session continues."""

    def fail(*_: object) -> None:
        raise RuntimeError("interrupted")

    job_id = submit(client)
    lease = miner.poll()[0]
    monkeypatch.setattr(store, "remove", fail)
    assert exclusion.store.remove is fail
    assert admin.delete(f"/v1/admin/miners/{miner.miner_id}").status_code == 500
    assert job(client, job_id)["status"] == "running"
    assert miner.complete(lease, RESULTS).status_code == 200


def test_the_overview_shows_faults_and_when_a_miner_was_last_seen(
    client: httpx.Client, admin: httpx.Client, miner: ScriptedMiner
) -> None:
    submit(client, max_attempts=1)
    failure = {"kind": "retry", "code": "RUNNER_CRASHED", "message": "The GPU was lost."}
    lease = miner.poll()[0]
    miner.job(lease, "fail", **failure).raise_for_status()
    (shown,) = admin.get("/v1/admin/overview").json()["miners"]
    assert (shown["failed_runs"], shown["completed_runs"]) == (1, 0)
    fault = shown["last_fault"]
    assert (fault["job_id"], fault["code"], fault["message"]) == (
        lease["job_id"],
        "RUNNER_CRASHED",
        "The GPU was lost.",
    )
    assert shown["seen_at"] >= shown["registered_at"]
    assert shown["throttled_until"] is None
