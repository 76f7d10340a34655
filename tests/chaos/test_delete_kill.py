"""`kill -9` of the coordinator while it deletes the data of jobs."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from agent import fault_points
from agent.coordinator.features.log import fsck
from agent.coordinator.features.retention import retention
from agent.coordinator.installed import EXAMINERS
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.files import removal
from campaign import checks
from support.agents import Agent, running
from support.server import Served, serve

pytestmark = pytest.mark.chaos

STEPS = [
    "database.before_commit:_delete", "database.after_commit:_delete", "database.before_commit:forget",
    "database.after_commit:forget",
]  # fmt: skip


REMOVALS = ["database.after_commit:_delete kill", *(f"artifact.removing kill {count}" for count in (1, 2))]


def as_client(url: str, key: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=120)


def blobs(served: Served) -> set[bytes]:
    root: Path = served.context.files.blobs.root
    return {path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("step", STEPS)
def test_a_deletion_is_completed_after_a_kill(tmp_path: Path, step: str) -> None:
    """By repeating it; files that it has left behind are found and removed. Another file and all money remain."""
    plan, data = tmp_path / "plan", tmp_path / "data"
    agent = Agent(data, "coordinator", "--port", "0", AITBC_FAULT_POINTS=str(plan))
    with running(agent):
        key = agent.file["client_key"]
        client = as_client(agent.url, key)
        retained = client.post("/v1/artifacts", content=b"retained").json()["artifact_id"]
        artifact_id = client.post("/v1/artifacts", content=b"deleted").json()["artifact_id"]
        body = {"audio_url": f"artifact:{artifact_id}", "model": "base", "wait": True}
        answer = client.post("/v1/services/whisper/transcribe", json=body).raise_for_status()
        job_id = answer.json()["job_id"]
        client.delete(f"/v1/jobs/{job_id}").raise_for_status()
        before = client.get("/v1/wallet").json()
        plan.write_text(f"{step} kill\n")
        with pytest.raises(httpx.TransportError):
            client.delete(f"/v1/jobs/{job_id}/data")
    with serve(data, orphan_seconds=0.001) as served:
        client = as_client(served.url, key)
        client.delete(f"/v1/jobs/{job_id}/data").raise_for_status()
        served.do(removal.remove_orphans)
        assert blobs(served) == {b"retained"}
        assert client.get(f"/v1/artifacts/{retained}").content == b"retained"
        assert client.get("/v1/jobs").json()["total"] == 0
        assert client.get("/v1/wallet").json() == before
        log_key = served.context.signer.vkey
        found = served.do(lambda context: context.database.read(fsck.examine, log_key, {}, EXAMINERS))
        assert [*map(str, found.problems), *checks.examine_database(data, [])] == []


OLD_STEPS = [
    "database.before_commit:_forget_jobs",
    "database.after_commit:_forget_jobs",
    "database.before_commit:forget",
]
HOUR = 3600.0


async def forget_old(context: Context) -> None:
    """Delete the data of ended jobs, a job in each transaction."""
    retention.JOBS_AT_ONCE = 1
    await retention.delete_jobs(replace(context, clock=lambda: context.clock() + 2 * HOUR))


def forget_old_and_die(data: Path, plan: Path) -> None:
    """Do so in a process of its own, which the plan ends at the second job."""
    os.environ[fault_points.VARIABLE] = str(plan)
    fault_points._plan = fault_points._FaultPlan(plan)
    with serve(data, job_retention_seconds=HOUR) as served:
        served.do(forget_old)


@pytest.mark.parametrize("step", OLD_STEPS)
def test_the_deletion_of_old_data_is_completed_after_a_kill(tmp_path: Path, step: str) -> None:
    """Each job has all of its data or none, receipts and money agree at every moment, and no file is left behind."""
    plan, data = tmp_path / "plan", tmp_path / "data"
    plan.write_text(f"{step} kill 2\n")
    with serve(data) as served:
        key = served.client_key
        client = as_client(served.url, key)
        for number in range(3):
            artifact_id = client.post("/v1/artifacts", content=b"deleted %d" % number).json()["artifact_id"]
            body = {"audio_url": f"artifact:{artifact_id}", "model": "base", "wait": True}
            answer = client.post("/v1/services/whisper/transcribe", json=body).raise_for_status()
            client.delete(f"/v1/jobs/{answer.json()['job_id']}").raise_for_status()
        before = client.get("/v1/wallet").json()
    process = multiprocessing.get_context("spawn").Process(target=forget_old_and_die, args=(data, plan))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    with serve(data, orphan_seconds=0.001, job_retention_seconds=HOUR) as served:
        client = as_client(served.url, key)
        left = {"before_commit:_forget_jobs": 2, "after_commit:_forget_jobs": 1, "before_commit:forget": 1}
        assert client.get("/v1/jobs").json()["total"] == left[step.removeprefix("database.")]
        log_key = served.context.signer.vkey
        assert (
            served.do(lambda context: context.database.read(fsck.examine, log_key, {}, EXAMINERS)).problems
            == []
        )
        served.do(forget_old)
        served.do(removal.remove_orphans)
        assert client.get("/v1/jobs").json()["total"] == 0
        assert client.get("/v1/wallet").json() == before
        assert {content for content in blobs(served) if content.startswith(b"deleted")} == set()
        found = served.do(lambda context: context.database.read(fsck.examine, log_key, {}, EXAMINERS))
        assert [*map(str, found.problems), *checks.examine_database(data, [])] == []


@pytest.mark.parametrize("step", REMOVALS)
def test_files_of_deleted_rows_are_removed_after_a_kill_without_anybodys_help(
    tmp_path: Path, step: str
) -> None:
    """The rows are deleted, and the process dies before, between or after the files. Nobody repeats the deletion."""
    plan, data = tmp_path / "plan", tmp_path / "data"
    agent = Agent(data, "coordinator", "--port", "0", AITBC_FAULT_POINTS=str(plan))
    with running(agent):
        key = agent.file["client_key"]
        client = as_client(agent.url, key)
        client.post("/v1/artifacts", content=b"retained").raise_for_status()
        frames = [client.post("/v1/artifacts", content=b"%d" % n).json()["artifact_id"] for n in range(2)]
        body = {
            "model": "sdxl-turbo", "prompt": "a cat", "wait": True, "image_url": f"artifact:{frames[0]}",
            "mask_url": f"artifact:{frames[1]}",
        }  # fmt: skip
        answer = client.post("/v1/services/stable-diffusion/generate", json=body)
        assert answer.is_success, answer.text
        job_id = answer.json()["job_id"]
        client.delete(f"/v1/jobs/{job_id}").raise_for_status()
        plan.write_text(f"{step}\n")
        with pytest.raises(httpx.TransportError):
            client.delete(f"/v1/jobs/{job_id}/data")
    with serve(data) as served:
        served.do(removal.settle_run_outputs)
        assert blobs(served) == {b"retained"}
        client = as_client(served.url, key)
        assert [client.get(f"/v1/artifacts/{one}").status_code for one in frames] == [404] * 2
