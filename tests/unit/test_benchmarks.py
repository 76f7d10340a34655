"""The benchmarks of the coordinator work, and what they fill databases with is what a coordinator would have written."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from agent.coordinator.store import access, ledger
from agent.coordinator.store.engine import Database
from agent.coordinator.store.schema import prepare
from agent.coordinator.store.tables import job_counts, jobs

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
LIMIT_SECONDS = 150


def run(name: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, BENCHMARKS / name, *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    assert done.stdout, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def test_cycles_are_complete_and_their_receipts_verify() -> None:
    """The benchmark itself ends with an error where one is not."""
    figures = run("cycle.py", "--cycles", "20", "--rounds", "1", "--concurrency", "4")
    assert figures["cycles_per_second"] > 0
    assert figures["jobs_completed"] == 200 + 20
    assert figures["receipts_verified"] == 100
    assert set(figures["latency_ms"]) == {"submit", "claim", "result", "status", "receipt", "whole"}


def test_growth_is_measured_for_every_call() -> None:
    """In two databases that are about as large; what the times are is not looked at on a busy machine."""
    figures = run("growth.py", "--sizes", "40", "50", "--repeat", "2")
    assert set(figures["milliseconds"]) == {"40", "50"}
    assert {"list, status", "admin: overview", "claim", "long queue: claim", "cycle: receipt"} <= set(
        figures["ratios"]
    )


def test_a_past_written_in_bulk_agrees_with_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger adds up, and the numbers of jobs are those of the rows."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from measuring.history import History  # noqa: PLC0415 - its folder is on the path only now

    path = tmp_path / "coordinator.db"
    database = Database(path)
    database.open(prepare)
    asyncio.run(database.write(access.add_account, "account_own", "own", 0.0))
    database.close()
    history = History(path, "account_own")
    history.write_past(300)
    history.write_queue(100)
    database = Database(path)
    database.open(prepare)
    assert database.read_now(ledger.faults) == []
    kinds = (jobs.c.account_id, jobs.c.service, jobs.c.state)
    counted = database.read_now(lambda connection: connection.execute(select(*kinds, func.count()).group_by(*kinds)).all())  # fmt: skip
    kept = database.read_now(lambda connection: connection.execute(select(job_counts)).all())
    assert sorted(counted) == sorted(kept)
    database.close()
