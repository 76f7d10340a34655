"""The miner protocol over HTTP: registration, and the life of a lease."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.coordinator.features.enrolments import enrolments
from agent.coordinator.operations.miners import leases
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.jobs import submit
from support.server import Served, serve

RESULTS = {"text": "hello", "units": 12.5, "processing_time": 0.5}


def status(client: httpx.Client, job_id: str) -> str:
    value: str = client.get(f"/v1/jobs/{job_id}").json()["status"]
    return value


def error(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_result_is_accepted_once_and_a_repetition_gets_the_same_receipt(
    client: httpx.Client, miner: ScriptedMiner
) -> None:
    job_id = submit(client)
    (lease,) = miner.poll()
    body = miner.result_body(lease, RESULTS)
    first = miner.http.post(f"/jobs/{job_id}/result", json=body)
    again = miner.http.post(f"/jobs/{job_id}/result", json=body)
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    other = miner.complete(lease, {**RESULTS, "text": "something else"})
    assert error(other) == (409, "STALE_LEASE")
    assert client.get(f"/v1/jobs/{job_id}/results").json()["results"] == RESULTS


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"units": "11"}, "units"),
        ({"price": "0.9"}, "price"),
        ({"unit_price": "0.0001"}, "unit_price"),
        ({"spec_digest": "0" * 64}, "spec_digest"),
        ({"service": "video_transcoding"}, "service"),
        ({"unit": "banana"}, "unit"),
        ({"origin": "another.log"}, "origin"),
        ({"fence": 7}, "fence"),
        ({"inputs": ()}, "inputs"),
        ({"subject": "of other results"}, "subject"),
    ],
)
def test_a_statement_that_contradicts_its_lease_is_refused(
    client: httpx.Client, miner: ScriptedMiner, change: dict[str, Any], field: str
) -> None:
    """Its signature is valid, but a field differs from the lease; the job remains running."""
    job_id = submit(client)
    (lease,) = miner.poll()
    changes = {
        name: Decimal(value) if name in ("units", "price", "unit_price") else value
        for name, value in change.items()
    }
    if field == "subject":
        changes["subject"] = miner.statement(lease, {**RESULTS, "text": "other"}).subject
    answer = miner.http.post(f"/jobs/{job_id}/result", json=miner.result_body(lease, RESULTS, **changes))
    assert error(answer) == (422, "RECEIPT_INVALID")
    assert field in answer.json()["error"]["details"]["fields"]
    assert status(client, job_id) == "running"
    assert miner.complete(lease, RESULTS).status_code == 200


def test_a_signature_by_another_key_is_refused(
    client: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    submit(client)
    (lease,) = miner.poll()
    forger = ScriptedMiner(served.url, registration=miner.registration)
    answer = miner.http.post(f"/jobs/{lease['job_id']}/result", json=forger.result_body(lease, RESULTS))
    assert error(answer) == (422, "RECEIPT_INVALID")


def test_an_output_file_must_be_stored_before_its_result(client: httpx.Client, miner: ScriptedMiner) -> None:
    submit(client)
    (lease,) = miner.poll()
    missing = {
        "artifact_id": f"sha256:{'1' * 64}",
        "url": f"/v1/artifacts/sha256:{'1' * 64}",
        "media_type": "text/plain",
        "size": 3,
        "name": "a.txt",
    }
    answer = miner.complete(lease, {**RESULTS, "files": [missing]})
    assert error(answer) == (422, "RECEIPT_INVALID")
    stored = miner.upload(b"abc", "text/plain")
    stored_file = {
        **missing,
        "artifact_id": stored["artifact_id"],
        "url": f"/v1/artifacts/{stored['artifact_id']}",
    }
    assert miner.complete(lease, {**RESULTS, "files": [stored_file]}).status_code == 200
    assert client.get(stored_file["url"]).content == b"abc"


def test_a_machine_fault_is_retried_until_the_attempts_are_used_up(
    client: httpx.Client, miner: ScriptedMiner
) -> None:
    job_id = submit(client, max_attempts=2)
    for attempt in (1, 2):
        (lease,) = miner.poll()
        assert (lease["attempt"], lease["fence"]) == (attempt, attempt)
        answer = miner.job(lease, "fail", kind="retry", code="DISK_FULL", message="The disk is full.")
        assert answer.status_code == 200
        job = client.get(f"/v1/jobs/{job_id}").json()
        assert (job["attempts"], job["max_attempts"]) == (attempt, 2)
        if attempt == 1:
            assert job["last_failure"] == {"code": "DISK_FULL", "message": "The disk is full."}
    assert "last_failure" not in job
    assert job["error"] == {
        "code": "DISK_FULL",
        "message": "The disk is full (tried 2 times).",
    }
    assert miner.job(lease, "fail", kind="retry", code="DISK_FULL", message="again").status_code == 409


def test_a_released_lease_costs_no_attempt(client: httpx.Client, miner: ScriptedMiner) -> None:
    submit(client, max_attempts=1)
    (lease,) = miner.poll()
    assert miner.job(lease, "release", reason="shutdown").json()["status"] == "submitted"
    (again,) = miner.poll()
    assert (again["attempt"], again["fence"]) == (1, 2)
    assert error(miner.complete(lease, RESULTS)) == (409, "STALE_LEASE")
    assert miner.complete(again, RESULTS).status_code == 200


def test_a_heartbeat_renews_leases_and_returns_cancellations(
    client: httpx.Client, miner: ScriptedMiner
) -> None:
    jobs = [submit(client) for _ in range(3)]
    held = miner.poll(slots=3)
    assert {lease["job_id"] for lease in held} == set(jobs)
    assert client.delete(f"/v1/jobs/{jobs[0]}").status_code == 200
    beat = [
        {"job_id": lease["job_id"], "fence": lease["fence"], "progress": 40, "counter": 1, "units": "2.5"}
        for lease in held
    ]
    beat[2] = {**beat[2], "fence": beat[2]["fence"] + 1} if beat[2]["job_id"] != jobs[0] else beat[2]
    answer = miner.http.post("/heartbeat", json={"leases": beat, "gpus": []}).json()["leases"]
    verdicts = {(item["job_id"], item["fence"]): item["status"] for item in answer}
    assert verdicts[jobs[0], 1] == "cancelled"
    assert sorted(verdicts.values()) == sorted(["cancelled", "renewed", "lost"])
    renewed = next(job_id for (job_id, _), verdict in verdicts.items() if verdict == "renewed")
    assert client.get(f"/v1/jobs/{renewed}").json()["progress"] == 40


def test_a_poll_returns_an_earlier_cancellation_immediately(
    client: httpx.Client, miner: ScriptedMiner
) -> None:
    job_id = submit(client)
    (lease,) = miner.poll()
    client.delete(f"/v1/jobs/{job_id}")
    answer = miner.http.post("/poll", json={"slots": 0, "wait": 10})
    assert answer.json() == {"leases": [], "cancelled": [{"job_id": job_id, "fence": lease["fence"]}]}


def test_an_expired_lease_is_requeued_but_its_late_result_still_counts(tmp_path: Path) -> None:
    with serve(tmp_path / "data", open_enrolment=True, lease_seconds=0.2) as served:
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
        miner = ScriptedMiner(served.url)
        miner.register()
        job_id = submit(client)
        (lease,) = miner.poll()
        while served.do(leases.expire_due) == 0 and status(client, job_id) == "running":
            pass
        assert status(client, job_id) == "submitted"
        assert miner.complete(lease, RESULTS).status_code == 200
        assert status(client, job_id) == "completed"


def test_a_new_session_ends_old_leases_except_those_of_finished_work(
    client: httpx.Client, served: Served, miner: ScriptedMiner
) -> None:
    jobs = [submit(client) for _ in range(2)]
    first, second = miner.poll(slots=2)
    old_token = miner.http.headers["Authorization"]
    answer = miner.register(holding=[{"job_id": first["job_id"], "fence": first["fence"]}])
    assert answer.json()["keep"] == [{"job_id": first["job_id"], "fence": first["fence"]}]
    assert {job_id: status(client, job_id) for job_id in jobs} == {
        first["job_id"]: "running",
        second["job_id"]: "submitted",
    }
    assert error(miner.complete(second, RESULTS)) == (409, "STALE_LEASE")
    assert miner.complete(first, RESULTS).status_code == 200
    stale = httpx.post(
        f"{served.url}/v1/miners/poll", json={"slots": 1, "wait": 0}, headers={"Authorization": old_token}
    )
    assert error(stale) == (409, "STALE_SESSION")


def test_only_the_first_registration_needs_an_enrolment_token(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as served:
        miner = ScriptedMiner(served.url)
        assert error(miner.register()) == (403, "FORBIDDEN")
        token = served.do(
            lambda context: enrolments.create(context, uses=1, valid_seconds=60)
        ).enrolment_token
        assert error(miner.register(enrolment_token=f"{token}x")) == (403, "FORBIDDEN")
        answer = miner.register(enrolment_token=token)
        assert answer.status_code == 200
        assert answer.json()["api_key"].startswith("aitbc_miner_")
        assert answer.json()["miner_id"] == miner.miner_id
        again = miner.register()
        assert (again.status_code, again.json()["api_key"]) == (200, None)
        assert again.json()["session"] == 2
        assert error(ScriptedMiner(served.url).register(enrolment_token=token)) == (403, "FORBIDDEN")


def test_a_registration_is_valid_only_with_its_own_signature_key_and_nonce(served: Served) -> None:
    miner = ScriptedMiner(served.url)
    body = miner.registration_body()
    stranger = ScriptedMiner(served.url).registration_body()
    for change in (
        {"signature": stranger["signature"]},
        {"public_key": stranger["public_key"]},
        {"nonce": stranger["nonce"]},
    ):
        assert error(miner.http.post("/register", json={**body, **change})) == (401, "UNAUTHORIZED")
    assert miner.http.post("/register", json=body).status_code == 200
    assert error(miner.http.post("/register", json=body)) == (401, "UNAUTHORIZED")


def test_a_miner_gets_only_jobs_of_its_services(client: httpx.Client, served: Served) -> None:
    job_id = submit(client)
    offered = capabilities()
    del offered["services"]["whisper_transcription"]
    miner = ScriptedMiner(served.url)
    miner.register(capabilities=offered)
    assert miner.poll(wait=0.2) == []
    beat = {"leases": [], "gpus": [], "capabilities": capabilities()}
    assert miner.http.post("/heartbeat", json=beat).status_code == 200
    assert [lease["job_id"] for lease in miner.poll()] == [job_id]


def test_a_job_whose_files_do_not_arrive_fails(tmp_path: Path) -> None:
    with serve(tmp_path / "data", input_wait_seconds=0.05) as served:
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
        model = {"type": "python", "entrypoint": "model.py"}
        job_id = client.post("/v1/jobs", json={"type": "ai-inference", "model": model}).json()["job_id"]
        while status(client, job_id) == "submitted":
            served.do(leases.expire_due)
        assert client.get(f"/v1/jobs/{job_id}").json()["error"]["code"] == "INPUT_MISSING"


def test_a_finished_job_cannot_be_cancelled(client: httpx.Client, miner: ScriptedMiner) -> None:
    job_id = submit(client)
    (lease,) = miner.poll()
    miner.complete(lease, RESULTS)
    assert error(client.delete(f"/v1/jobs/{job_id}")) == (409, "JOB_ALREADY_COMPLETED")


def test_a_restart_loses_no_acknowledged_state(tmp_path: Path) -> None:
    """Jobs, leases, results and receipts remain, and a running lease continues."""
    with serve(tmp_path / "data", open_enrolment=True) as served:
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
        miner = ScriptedMiner(served.url)
        miner.register()
        done, running = submit(client), submit(client)
        by_job = {lease["job_id"]: lease for lease in miner.poll(slots=2)}
        assert miner.complete(by_job[done], RESULTS).status_code == 200
        receipt = client.get(f"/v1/receipts/{done}").json()
        key, token = served.client_key, miner.http.headers["Authorization"]
    with serve(tmp_path / "data", open_enrolment=True) as served:
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": key})
        assert client.get(f"/v1/receipts/{done}").json() == receipt
        assert status(client, running) == "running"
        miner.url = served.url
        miner.http = httpx.Client(base_url=f"{served.url}/v1/miners", headers={"Authorization": token})
        assert miner.complete(by_job[running], RESULTS).status_code == 200
        assert status(client, running) == "completed"
