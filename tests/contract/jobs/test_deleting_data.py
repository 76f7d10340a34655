"""Deletion of a job's data: the files leave the disk, and what proves and pays the work remains."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent import fault_points
from agent.coordinator.features.log import fsck
from agent.coordinator.installed import EXAMINERS
from agent.coordinator.operations.files import removal
from agent.coordinator.store import artifacts
from campaign import checks
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import submit
from support.logged import logged
from support.server import Served, serve

RESULTS = {"text": "hello", "units": 1, "processing_time": 0.5}
LINE = {"time": time.time(), "source": "stdout", "text": "a secret"}


def store(client: httpx.Client, content: bytes, name: str = "interview.mp3") -> str:
    answer = client.post("/v1/artifacts", content=content, params={"name": name}).raise_for_status()
    return str(answer.json()["artifact_id"])


def blobs(served: Served) -> set[bytes]:
    """Return the contents of all files that the coordinator has stored."""
    root: Path = served.context.files.blobs.root
    return {path.read_bytes() for path in root.rglob("*") if path.is_file() and path.parent != root}


def with_file(stored: dict[str, Any]) -> dict[str, Any]:
    url = f"/v1/artifacts/{stored['artifact_id']}"
    return {**RESULTS, "files": [{**stored, "name": "a.txt", "url": url}]}


def completed(
    client: httpx.Client, miner: ScriptedMiner, audio: str, output: bytes = b"output", **options: Any
) -> str:
    job_id = submit(client, audio_url=f"artifact:{audio}", **options)
    (lease,) = miner.poll()
    assert lease["job_id"] == job_id
    results = with_file(miner.upload(output, "text/plain", lease))
    body = {**miner.result_body(lease, results), "log": {"entries": [LINE]}}
    miner.http.post(f"/jobs/{job_id}/result", json=body).raise_for_status()
    return job_id


def examined(served: Served) -> list[str]:
    """Return what the checks of the log and of the database find wrong; on PostgreSQL, those of the log."""
    key, database = served.context.signer.vkey, served.context.database
    found = served.do(lambda context: context.database.read(fsck.examine, key, {}, EXAMINERS))
    others = checks.examine_database(database.path.parents[1], []) if not database.concurrent else []
    return [*map(str, found.problems), *others]


def financial(client: httpx.Client) -> tuple[Any, Any]:
    """Return the payments, without the names of their jobs, which are deleted with the jobs, and the network's statistics."""
    payments = client.get("/v1/wallet/transactions").json()["transactions"]
    unnamed = [{name: value for name, value in one.items() if name != "job_name"} for one in payments]
    return unnamed, client.get("/v1/marketplace/stats").json()


def test_the_data_of_a_job_is_deleted_and_its_receipt_and_payment_remain(
    served: Served, client: httpx.Client, miner: ScriptedMiner
) -> None:
    job_id = completed(client, miner, store(client, b"input"), labels={"a": "b"})
    other = completed(client, miner, store(client, b"other input"), b"other output")
    receipt = client.get(f"/v1/receipts/{job_id}").json()
    logged(served, [receipt["receipt_id"]])
    before = financial(client)
    used = client.get("/v1/wallet").json()
    answer = client.delete(f"/v1/jobs/{job_id}/data")
    assert (answer.status_code, answer.json()["job_id"]) == (200, job_id)
    assert client.delete(f"/v1/jobs/{job_id}/data").json() == answer.json()
    page = client.get("/v1/jobs").json()
    assert ([one["job_id"] for one in page["jobs"]], page["total"]) == ([other], 1)
    assert client.get("/v1/jobs", params={"label": "a:b"}).json()["total"] == 0
    for path in ("", "/results", "/log", "/events", "/webhooks"):
        assert client.get(f"/v1/jobs/{job_id}{path}").status_code == 404, path
    assert client.post(f"/v1/jobs/{job_id}/rerun").status_code == 404
    assert blobs(served) == {b"other input", b"other output"}
    assert client.get(f"/v1/receipts/{job_id}").json() == receipt
    assert client.post("/v1/receipts/verify", json={"receipt": receipt}).json()["valid"]
    assert financial(client) == before
    assert client.get("/v1/wallet").json() == used
    assert examined(served) == []


@pytest.mark.sqlite
def test_the_parameters_of_a_deleted_job_are_in_no_table(
    served: Served, client: httpx.Client, miner: ScriptedMiner
) -> None:
    """Nor are its results, its log, its name and its labels."""
    words = ("interview.mp3", "a-label", "language-tag", "a secret", "output", "hello")
    audio = store(client, b"input")
    job_id = completed(client, miner, audio, labels={"key": "a-label"}, language="en", name="language-tag")

    def found() -> set[str]:
        with checks.open_database(served.context.database.path.parents[1]) as database:
            tables = ("jobs", "job_labels", "job_logs", "results", "job_artifacts", "artifact_owners", "runs")
            rows = [str(row) for table in tables for row in database.execute(f"SELECT * FROM {table}")]  # noqa: S608
        return {word for word in words if any(word in row for row in rows)}

    assert found() == set(words)
    client.delete(f"/v1/jobs/{job_id}/data").raise_for_status()
    assert found() == set()


def test_a_job_that_has_not_ended_keeps_its_data(client: httpx.Client, miner: ScriptedMiner) -> None:
    waiting = submit(client)
    refused = client.delete(f"/v1/jobs/{waiting}/data")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "CONFLICT")
    assert "is submitted" in refused.json()["error"]["message"]
    (lease,) = miner.poll()
    assert "is running" in client.delete(f"/v1/jobs/{waiting}/data").json()["error"]["message"]
    client.delete(f"/v1/jobs/{waiting}").raise_for_status()
    assert client.delete(f"/v1/jobs/{waiting}/data").status_code == 200
    assert miner.complete(lease, RESULTS).status_code == 409


def test_files_that_another_job_or_account_has_remain(
    served: Served, client: httpx.Client, miner: ScriptedMiner
) -> None:
    stranger = httpx.Client(base_url=served.url, headers={"X-API-Key": served.other_key})
    shared, copied, alone = (store(client, content) for content in (b"shared", b"copied", b"alone"))
    store(stranger, b"copied")
    first = completed(client, miner, shared)
    second = completed(client, miner, shared, b"second output")
    third = completed(client, miner, copied, b"third output")
    client.delete(f"/v1/jobs/{first}/data").raise_for_status()
    client.delete(f"/v1/jobs/{third}/data").raise_for_status()
    assert blobs(served) == {b"shared", b"second output", b"copied", b"alone"}
    account_id = client.get("/v1/wallet").json()["account_id"]
    stored = served.do(lambda context: context.database.read(artifacts.bytes_of, account_id))
    assert stored == len(b"shared" + b"second output" + b"alone")
    assert client.get(f"/v1/artifacts/{copied}").status_code == 404
    assert stranger.get(f"/v1/artifacts/{copied}").content == b"copied"
    client.delete(f"/v1/jobs/{second}/data").raise_for_status()
    assert blobs(served) == {b"copied", b"alone"}
    client.delete(f"/v1/artifacts/{alone}").raise_for_status()
    assert examined(served) == []


def test_only_its_account_deletes_a_jobs_data(served: Served, client: httpx.Client) -> None:
    job_id = submit(client)
    client.delete(f"/v1/jobs/{job_id}")
    stranger = httpx.Client(base_url=served.url, headers={"X-API-Key": served.other_key})
    assert stranger.delete(f"/v1/jobs/{job_id}/data").status_code == 404
    assert client.get(f"/v1/jobs/{job_id}").status_code == 200


def test_a_waiting_job_keeps_its_input(client: httpx.Client) -> None:
    audio = store(client, b"input")
    job_id = submit(client, audio_url=f"artifact:{audio}")
    refused = client.delete(f"/v1/artifacts/{audio}")
    assert refused.status_code == 409
    assert refused.json()["error"]["details"] == {"job_ids": [job_id]}


@pytest.mark.parametrize(
    "step",
    [
        "database.before_commit:_delete raise", "database.after_commit:_delete raise",
        "database.before_commit:forget raise", "database.after_commit:forget raise",
    ],
)  # fmt: skip
@pytest.mark.sqlite
def test_a_crash_at_any_step_leaves_no_file_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The next start and the search for files without a record complete the deletion."""
    plan = tmp_path / "plan"
    monkeypatch.setattr(fault_points, "_plan", fault_points._FaultPlan(plan))
    settings = {"open_enrolment": True, "orphan_seconds": 0.001}
    with serve(tmp_path / "data", **settings) as served:
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key}, timeout=120)
        key = served.client_key
        miner = ScriptedMiner(served.url)
        miner.register()
        retained = store(client, b"retained")
        job_id = completed(client, miner, store(client, b"input"))
        plan.write_text(f"{step}\n")
        assert client.delete(f"/v1/jobs/{job_id}/data").status_code == 500
    with serve(tmp_path / "data", **settings) as served:
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": key}, timeout=120)
        client.delete(f"/v1/jobs/{job_id}/data").raise_for_status()
        until(lambda: served.do(removal.remove_orphans) == 0)
        assert blobs(served) == {b"retained"}
        assert client.get(f"/v1/artifacts/{retained}").content == b"retained"
        assert client.get("/v1/jobs").json()["total"] == 0
        assert examined(served) == []


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
