"""Frequent queries take no longer as the history or the queue grows.

`benchmarks/growth.py` times them; these tests read SQLite's query plans, which do not depend on the machine's load.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from agent.coordinator.installed import FEATURES
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.jobs import estimates
from agent.coordinator.port import candidate_of
from agent.coordinator.store import queue, running
from agent.core.jobs import JobState
from runners.registry import installed
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.jobs import submit
from support.server import Served, serve
from support.statements import Statement, plans, recorded

pytestmark = pytest.mark.sqlite

RESULTS = {"text": "hello", "units": 10}
GROWING = "jobs|job_labels|job_logs|transactions|postings|events|receipts|results|runs|job_artifacts|artifacts|idempotency|miner_days"
# These indexes contain only jobs that wait, run, or wait for their files.
OPEN_ONLY = re.compile(
    r"USING (COVERING )?INDEX ix_jobs_(claimable|submitted|open|waiting_for|leased_by|not_notified)\w*"
)
# A page of all rows, newest first, reads the primary key until the page is full.
PAGE_OF_ALL = re.compile(
    r"FROM \w+\s+(WHERE jobs\.deleted_at IS NULL )?ORDER BY \w+\.(\w+)( DESC)?\s+LIMIT \?"
)


@pytest.fixture
def traffic(tmp_path: Path) -> Iterator[tuple[Served, list[Statement]]]:
    """A coordinator whose statements are recorded."""
    with serve(tmp_path / "data", open_enrolment=True) as served, recorded() as statements:
        yield served, statements


def check(served: Served, statements: list[Statement]) -> None:
    """Assert that no statement scans a growing table or sorts rows of one."""
    found = plans(served.context.database.path, statements)
    assert found
    for sql, steps in found.items():
        for step in steps:
            scan = re.match(rf"SCAN ({GROWING})\b", step)
            if scan and not OPEN_ONLY.search(step):
                assert PAGE_OF_ALL.search(sql), f"{step}  <-  {sql}"
            if re.search(r"state = 'submitted' AND missing_files", sql) and re.match(
                r"(SCAN|SEARCH) jobs\b", step
            ):
                assert OPEN_ONLY.search(step), f"{step}  <-  {sql}"
            if re.search(rf"FROM ({GROWING})\b", sql):
                assert "TEMP B-TREE FOR ORDER BY" not in step, f"{step}  <-  {sql}"


def test_a_job_from_its_submission_to_its_receipt_uses_indexes(
    traffic: tuple[Served, list[Statement]],
) -> None:
    served, statements = traffic
    client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
    miner = ScriptedMiner(served.url)
    miner.register()
    job_id = submit(client)
    (lease,) = miner.poll()
    assert miner.http.post("/heartbeat", json={"leases": []}).status_code == 200
    assert miner.complete(lease, RESULTS).status_code == 200
    cancelled = submit(client, priority=1)
    assert client.delete(f"/v1/jobs/{cancelled}").status_code == 200
    for path in (f"jobs/{job_id}", f"jobs/{job_id}/results", f"receipts/{job_id}"):
        assert client.get(f"/v1/{path}").status_code == 200
    served.do(lambda context: context.database.read(running.anything_due, 1.0, 1.0))
    check(served, statements)


def test_old_data_is_found_through_indexes(traffic: tuple[Served, list[Statement]]) -> None:
    """The data of old jobs is read through the index of ended jobs that have data."""
    served, statements = traffic
    client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
    client.delete(f"/v1/jobs/{submit(client)}").raise_for_status()
    statements.clear()

    async def delete_everything(context: Context) -> None:
        settings = context.settings.model_copy(update={"job_retention_seconds": 30 * 86_400.0})
        later = replace(context, settings=settings, clock=lambda: context.clock() + 400 * 86_400.0)
        tasks = [task for feature in FEATURES for task in feature.tasks if task.name.startswith("old_")]
        for task in tasks:
            await task.step(later)

    served.do(delete_everything)
    assert client.get("/v1/jobs").json()["total"] == 0
    check(served, statements)
    found = plans(served.context.database.path, statements)
    steps = [step for sql, steps in found.items() if "jobs.finished_at <" in sql for step in steps]
    assert any("ix_jobs_ended_by_state (state=? AND job_id>? AND job_id<?)" in step for step in steps), steps


def test_lists_and_overviews_use_indexes(traffic: tuple[Served, list[Statement]]) -> None:
    """This holds with every filter, for clients and for administrators, who see all jobs. Names have a test of their own."""
    served, statements = traffic
    states = [f"status={state}" for state in JobState]
    filters = ["", *states, "type=ai-inference", *(f"{state}&type=ai-inference" for state in states)]
    found = ["miner_id=miner_a", "offer_id=offer_a", "label=a:b", "label=a:b&label=c:d"]
    filters += [*found, *(f"{one}&{state}" for one in found for state in states)]
    for key in (served.client_key, served.admin_key):
        http = httpx.Client(base_url=served.url, headers={"X-API-Key": key})
        submit(httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key}))
        named = ["name=a.mp3", *(f"name=a.mp3&{state}" for state in states)]
        for query in [*filters, *(named if key == served.client_key else [])]:
            assert http.get(f"/v1/jobs?{query}").status_code == 200
        assert http.get("/v1/wallet").status_code == 200
        assert http.get("/v1/wallet/transactions").status_code == 200
    assert http.get("/v1/admin/overview").status_code == 200
    check(served, statements)


def test_an_administrators_search_for_a_name_reads_only_jobs_of_that_name(
    traffic: tuple[Served, list[Statement]],
) -> None:
    """One search of the index for each account. Only the jobs that are found are sorted."""
    served, statements = traffic
    client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
    named = submit(client, name="a.mp3")
    submit(client, name="b.mp3")
    admin = httpx.Client(base_url=served.url, headers={"X-API-Key": served.admin_key})
    statements.clear()
    for query in ("name=a.mp3", *(f"name=a.mp3&status={state}" for state in JobState)):
        found = admin.get(f"/v1/jobs?{query}").raise_for_status().json()
        assert [job["job_id"] for job in found["jobs"]] == (
            [named] if "status" not in query or "submitted" in query else []
        )
        assert found["total"] == len(found["jobs"])
    steps = [
        step
        for sql, steps in plans(served.context.database.path, statements).items()
        if "jobs.name" in sql
        for step in steps
    ]
    searches = [step for step in steps if re.match(r"(SCAN|SEARCH) jobs\b", step)]
    assert len(searches) >= 2
    assert all("INDEX ix_jobs_account_name (account_id=? AND name=?" in step for step in searches), searches


def test_pages_of_owners_use_indexes(traffic: tuple[Served, list[Statement]]) -> None:
    """These pages are the list of miners, a miner with its jobs, and its earnings."""
    served, statements = traffic
    miner = ScriptedMiner(served.url)
    miner.register()
    submit(httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key}))
    miner.poll()
    for key in (miner.registration["api_key"], served.admin_key):
        http = httpx.Client(base_url=served.url, headers={"X-API-Key": key})
        for path in ("", f"/{miner.miner_id}", f"/{miner.miner_id}/earnings"):
            assert http.get(f"/v1/miners{path}").status_code == 200
    check(served, statements)


def test_a_long_queue_is_read_through_indexes(
    traffic: tuple[Served, list[Statement]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue has as many jobs as one claim reads, a number that is reduced here; estimates read the queue as well."""
    served, statements = traffic
    client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
    jobs = [submit(client) for _ in range(2 * len(installed()))]
    monkeypatch.setattr(queue, "CLAIM_WINDOW", len(jobs))
    offered = capabilities()
    offered["services"]["whisper_transcription"]["unavailable_models"] = ["tiny.en"]
    batch_capacity = {("llm_inference", "smollm2-135m-instruct"): 1}
    candidates = [
        candidate_of("miner_a", 1, 1, offered),
        candidate_of("miner_b", 1, 0, offered, batch_capacity),
    ]
    waiting = served.do(lambda context: context.database.read(queue.waiting, candidates))
    assert [job.job_id for job in waiting] == jobs[:2]  # the rest of the window is for other services
    served.do(estimates.estimates)
    check(served, statements)
