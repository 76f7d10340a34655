"""What is older than its retention period is deleted in slices; money, receipts and the log remain."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent import fault_points
from agent.coordinator.features.log import fsck, public
from agent.coordinator.features.log import store as log
from agent.coordinator.features.log.store import CheckpointRecord
from agent.coordinator.features.retention import retention
from agent.coordinator.installed import EXAMINERS
from agent.coordinator.operations.context import Context
from agent.coordinator.store import events
from agent.coordinator.store.events import NewEvent
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import submit
from support.logged import logged
from support.server import Served, serve

HOUR = 3600.0
RESULTS = {"text": "hello", "units": 1, "processing_time": 0.5}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path / "data", open_enrolment=True, job_retention_seconds=HOUR) as served:
        yield served


def later(context: Context, seconds: float) -> Context:
    return dataclasses.replace(context, clock=lambda: context.clock() + seconds)


def forget_old(served: Served, after: float = 2 * HOUR) -> None:
    served.do(lambda context: retention.delete_jobs(later(context, after)))


def completed(client: httpx.Client, miner: ScriptedMiner, **options: Any) -> str:
    job_id = submit(client, **options)
    assert miner.complete(miner.poll()[0], RESULTS).status_code == 200
    return job_id


def job_ids(client: httpx.Client) -> set[str]:
    page = client.get("/v1/jobs").raise_for_status().json()
    assert page["total"] == len(page["jobs"])
    return {job["job_id"] for job in page["jobs"]}


def problems(served: Served) -> list[str]:
    key = served.context.signer.vkey
    found = served.do(lambda context: context.database.read(fsck.examine, key, {}, EXAMINERS))
    return [str(problem) for problem in found.problems]


def money(client: httpx.Client) -> list[Any]:
    """Return the wallet, the payments without the names of jobs, and the network's statistics."""
    payments = client.get("/v1/wallet/transactions").json()["transactions"]
    unnamed = [{name: value for name, value in one.items() if name != "job_name"} for one in payments]
    return [client.get("/v1/wallet").json(), unnamed, client.get("/v1/marketplace/stats").json()]


def test_the_data_of_old_jobs_is_deleted_and_receipts_and_money_remain(
    served: Served, client: httpx.Client, miner: ScriptedMiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This holds for jobs of all accounts and final states, in several slices. Jobs that have not ended remain."""
    monkeypatch.setattr(retention, "JOBS_AT_ONCE", 2)
    other = httpx.Client(base_url=served.url, headers={"X-API-Key": served.other_key}, timeout=120)
    file = client.post("/v1/artifacts", content=b"input").raise_for_status().json()["artifact_id"]
    done = [completed(client, miner, audio_url=f"artifact:{file}", labels={"a": "b"}) for _ in range(5)]
    completed(other, miner)
    receipt = client.get(f"/v1/receipts/{done[0]}").json()
    logged(served, [receipt["receipt_id"]])
    client.delete(f"/v1/jobs/{submit(client)}").raise_for_status()
    submit(client)
    failure = {"kind": "fail", "code": "BAD_AUDIO", "message": "This is no audio."}
    miner.job(miner.poll()[0], "fail", **failure).raise_for_status()
    waiting = submit(client)
    before = money(client)
    forget_old(served, HOUR / 2)
    assert len(job_ids(client)) == 8
    forget_old(served)
    assert (job_ids(client), job_ids(other)) == ({waiting}, set())
    for path in ("", "/results", "/explain", "/log"):
        assert client.get(f"/v1/jobs/{done[0]}{path}").status_code == 404, path
    assert client.get("/v1/jobs", params={"label": "a:b"}).json()["total"] == 0
    assert client.get(f"/v1/artifacts/{file}").status_code == 404
    assert client.get(f"/v1/receipts/{done[0]}").json() == receipt
    assert client.post("/v1/receipts/verify", json={"receipt": receipt}).json()["valid"]
    assert money(client) == before
    assert problems(served) == []


def test_a_file_that_a_younger_job_uses_remains(
    served: Served, client: httpx.Client, miner: ScriptedMiner
) -> None:
    file = client.post("/v1/artifacts", content=b"input").raise_for_status().json()["artifact_id"]
    completed(client, miner, audio_url=f"artifact:{file}")
    waiting = submit(client, audio_url=f"artifact:{file}")
    forget_old(served)
    assert job_ids(client) == {waiting}
    assert client.get(f"/v1/artifacts/{file}").content == b"input"


def test_nothing_is_deleted_without_a_retention_period(tmp_path: Path) -> None:
    with serve(tmp_path / "forever", open_enrolment=True) as served:
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
        miner = ScriptedMiner(served.url)
        miner.register()
        job_id = completed(client, miner)
        forget_old(served, 1000 * 86_400.0)
        assert job_ids(client) == {job_id}


@pytest.mark.parametrize(
    "step", ["before_commit:_forget_jobs", "after_commit:_forget_jobs", "before_commit:forget"]
)
def test_a_deletion_that_breaks_off_is_completed_by_the_next_one(
    served: Served,
    client: httpx.Client,
    miner: ScriptedMiner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    """Nothing is inconsistent meanwhile."""
    monkeypatch.setattr(retention, "JOBS_AT_ONCE", 2)
    file = client.post("/v1/artifacts", content=b"input").raise_for_status().json()["artifact_id"]
    for _ in range(3):
        completed(client, miner, audio_url=f"artifact:{file}")
    before = money(client)
    plan = tmp_path / "plan"
    monkeypatch.setattr(fault_points, "_plan", fault_points._FaultPlan(plan))
    plan.write_text(f"database.{step} raise\n")
    with pytest.raises(fault_points.InjectedFault):
        forget_old(served)
    assert problems(served) == []
    assert money(client) == before
    forget_old(served)
    assert (job_ids(client), money(client), problems(served)) == (set(), before, [])
    root = served.context.files.blobs.root
    assert [path for path in root.rglob("*") if path.is_file() and path.parent != root] == []


def test_any_number_of_old_changes_is_deleted_at_once(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a busy coordinator adds more changes than it deletes."""
    monkeypatch.setattr(events, "PRUNED_AT_ONCE", 3)

    async def numbers(context: Context) -> tuple[int, int]:
        young = later(context, 8 * 86_400)
        await context.database.write(events.add, [NewEvent("mark", {}, "a")] * 10, context.clock())
        await context.database.write(events.add, [NewEvent("mark", {}, "a")], young.clock())
        await retention.delete_events(young)
        read = context.database.read
        return await read(events.oldest), await read(events.newest)

    oldest, newest = served.do(numbers)
    assert oldest == newest > 0


def test_of_old_checkpoints_the_last_of_each_hour_and_cosigned_ones_remain(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "THINNED_AT_ONCE", 4)
    monkeypatch.setattr(log, "HOUR_SECONDS", 10)

    async def sizes(context: Context) -> list[int]:
        now = context.clock() // 10 * 10
        old = now - context.settings.checkpoint_retention_seconds - 100
        for number in range(1, 31):
            record = CheckpointRecord(number, bytes(32), "", old + number, cosigned=int(number == 12))
            await context.database.write(log.add_checkpoint, record)
        for number in range(31, 41):
            record = CheckpointRecord(number, bytes(32), "", now, cosigned=0)
            await context.database.write(log.add_checkpoint, record)
        for _ in range(2):
            await public.thin_checkpoints(context)
        return [record.size for record in await context.database.read(lambda c: list(log.all_checkpoints(c)))]

    assert served.do(sizes) == [0, 9, 12, 19, 29, 30, *range(31, 41)]
