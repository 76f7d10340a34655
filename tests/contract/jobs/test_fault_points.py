"""A full disk or an error at every step of the coordinator: calls are refused and repeated, and no data is lost.

The campaigns (tests/chaos/test_campaign.py) end processes at these steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from agent import fault_points
from campaign import checks
from campaign.clients import TUS
from support.clients.scripted_miner import ScriptedMiner
from support.server import Served

pytestmark = [pytest.mark.sqlite, pytest.mark.needs("tus")]

LIMIT_SECONDS = 180
RESULTS = {"text": "hello", "units": 1.5, "processing_time": 0.5}
AUDIO = b"a recording " * 1000
STEPS = [
    "database.before_commit:_insert disk_full", "database.after_commit:_insert raise", "database.before_commit:claim disk_full",
    "database.before_commit:_complete disk_full", "database.after_commit:_complete raise",
    "database.before_commit:integrate disk_full", "database.before_commit:_hold disk_full",
    "database.before_commit:save disk_full", "database.after_commit:_finish raise",
    "artifact.writing disk_full", "artifact.received disk_full", "artifact.stored raise", "upload.writing disk_full",
    "upload.synced raise", "log.signed raise", "log.publishing disk_full",
]  # fmt: skip


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "plan"
    monkeypatch.setattr(fault_points, "_plan", fault_points._FaultPlan(path))
    return path


def repeated(call: Callable[[], httpx.Response]) -> httpx.Response:
    """Repeat the call, as clients do, until the response is not a server error; return it."""
    end = time.monotonic() + LIMIT_SECONDS
    while (answer := call()).is_server_error and time.monotonic() < end:
        time.sleep(0.02)
    assert answer.is_success, answer.text
    return answer


def upload(client: httpx.Client) -> str:
    """Store the recording with tus and return the artifact's id."""
    begin = {**TUS, "Upload-Length": str(len(AUDIO))}
    created = repeated(lambda: client.post("/v1/uploads", headers=begin))
    path = f"/v1/uploads/{created.json()['upload_id']}"
    end = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < end:
        headers = repeated(lambda: client.head(path, headers=TUS)).headers
        if "upload-artifact-id" in headers:
            return headers["upload-artifact-id"]
        offset = int(headers["upload-offset"])
        part = {**TUS, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        client.patch(path, content=AUDIO[offset:], headers=part)
    raise AssertionError("the upload did not finish")


@pytest.mark.parametrize("step", STEPS)
def test_a_fault_at_any_step_loses_no_data(
    served: Served, client: httpx.Client, plan: Path, tmp_path: Path, step: str
) -> None:
    """Run a job, with its input uploaded in two ways, until its receipt is in the log."""
    miner = ScriptedMiner(served.url)
    repeated(miner.register)
    plan.write_text(f"{step}\n")
    repeated(lambda: client.post("/v1/artifacts", content=AUDIO[:-1]))
    artifact = upload(client)
    body = {"audio_url": f"artifact:{artifact}", "model": "base", "name": "only"}
    headers = {"Idempotency-Key": "only"}
    job_id = repeated(
        lambda: client.post("/v1/services/whisper/transcribe", json=body, headers=headers)
    ).json()["job_id"]
    leases: list[dict[str, object]] = []
    end = time.monotonic() + LIMIT_SECONDS
    while not leases and time.monotonic() < end:
        leases = miner.poll(wait=1)
    (lease,) = leases
    repeated(lambda: miner.complete(lease, RESULTS))
    # The log publishes its checkpoint after it has numbered the leaves.
    passed, end = plan.with_name("plan.done"), time.monotonic() + LIMIT_SECONDS
    while (checks.examine_end(tmp_path / "data") or not passed.exists()) and time.monotonic() < end:
        time.sleep(0.02)
    assert passed.exists(), "the fault point was not reached"
    assert checks.examine_end(tmp_path / "data") == []
    assert checks.examine_database(tmp_path / "data", [job_id]) == []
    assert checks.counts(tmp_path / "data") == {"completed": 1}
