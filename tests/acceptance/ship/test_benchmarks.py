"""The coordinator's benchmarks run, and fill databases with the rows that a coordinator would have written."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import func, select

from agent.coordinator.store import access, ledger
from agent.coordinator.store.schema.tables import job_counts, jobs
from agent.coordinator.store.schema.upgrade import prepare
from agent.coordinator.store.sqlite.database import SQLiteDatabase

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
LIMIT_SECONDS = 150


def run(name: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, BENCHMARKS / name, *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    assert done.stdout, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


@pytest.mark.parametrize("database", [(), ("--postgresql", "2", "--snapshot")], ids=["sqlite", "postgresql"])
def test_cycles_are_complete_and_their_receipts_verify(database: tuple[str, ...]) -> None:
    """The benchmark fails if one is incomplete. On PostgreSQL, jobs cross from one replica to the other."""
    figures = run("cycle.py", "--cycles", "20", "--rounds", "1", "--concurrency", "4", *database)
    assert figures["cycles_per_second"] > 0
    assert figures["jobs_completed"] == 200 + 20
    assert figures["receipts_verified"] == 100
    steps = {"submit", "claim", "pickup", "result", "status", "receipt", "whole"}
    assert set(figures["latency_ms"]) == steps
    assert (figures["rounds"][0]["cpu_ms_per_cycle"]["database"] > 0) is bool(database)


def test_idle_connections_are_measured() -> None:
    """The benchmark fails if a stream misses the job at the end."""
    figures = run("idle.py", "--miners", "4", "--streams", "8", "--seconds", "1")
    assert figures["streams_that_saw_the_job"] == 8
    assert figures["memory_mib"] > 0


@pytest.mark.parametrize("ending", ["kill", "end"])
def test_other_queues_end_with_their_benchmark(tmp_path: Path, ending: str) -> None:
    """Also if it is killed, and also what a worker has started."""
    worker = """
import os, subprocess
other = subprocess.Popen(["sleep", "1000"])
with open("pids", "w") as file:
    file.write(f"{os.getpid()} {other.pid}")
other.wait()
"""
    code = f"""
import peers, sys
with peers.running([sys.executable, "-c", {worker!r}]):
    sys.stdin.read()
"""
    environment = {**os.environ, "PYTHONPATH": str(BENCHMARKS)}
    command = [sys.executable, "-c", code]
    started = tmp_path / "pids"
    os.mkfifo(started)
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=tmp_path, env=environment) as benchmark:
        processes = [psutil.Process(int(pid)) for pid in started.read_text().split()]
        if ending == "kill":
            benchmark.kill()
    ended, alive = psutil.wait_procs(processes, 30)
    assert (len(ended), alive) == (2, [])


def test_growth_is_measured_for_every_call() -> None:
    """In two databases of similar size. The durations are not checked, since the machine may be busy."""
    figures = run("growth.py", "--sizes", "40", "50", "--repeat", "2")
    assert set(figures["milliseconds"]) == {"40", "50"}
    assert {"list, status", "admin: overview", "claim", "long queue: claim", "cycle: receipt"} <= set(
        figures["ratios"]
    )


def test_a_history_written_in_bulk_is_consistent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger balances, and the counts of jobs agree with the rows."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from measuring.history import History  # noqa: PLC0415 - after the path is set

    path = tmp_path / "coordinator.db"
    database = SQLiteDatabase(path)
    database.open(prepare)
    asyncio.run(database.write(access.add_account, "account_own", "own", 0.0))
    database.close()
    history = History(path, "account_own")
    history.write_past(300)
    history.write_queue(100)
    database = SQLiteDatabase(path)
    database.open(prepare)
    assert database.read_now(ledger.problems) == []
    kinds = (jobs.c.account_id, jobs.c.service, jobs.c.state)
    counted = database.read_now(lambda connection: connection.execute(select(*kinds, func.count()).group_by(*kinds)).all())  # fmt: skip
    stored = database.read_now(lambda connection: connection.execute(select(job_counts)).all())
    assert sorted(counted) == sorted(stored)
    database.close()


def test_our_path_is_compared_with_whispers_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a few seconds of speech, with the same text. Their speeds are not checked, since the machine may be busy."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from measuring import whisper  # noqa: PLC0415 - after the path is set

    monkeypatch.setattr(whisper, "SECONDS", 20)
    first, second = whisper.measure(tmp_path, rounds=1)
    assert (first.required, second.required) == (True, False)
    for row in (first, second):
        assert row.ours[0] > 0
        assert row.ratio == round(row.ours[0] / row.alone[0], 3)


def test_the_soak_test_detects_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    """It detects memory by its slope despite noise, descriptors by their level, and missing jobs."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import soak  # noqa: PLC0415 - after the path is set

    def samples(**growth: float) -> list[soak.Sample]:
        fields = [name for name in soak.Sample.__dataclass_fields__ if name not in ("seconds", "jobs")]
        level = dict.fromkeys(fields, 100_000_000)
        return [
            soak.Sample(
                seconds=number,
                jobs=number * 1000,
                **{
                    name: int(value + growth.get(name, 0) * number + number % 2 * 50_000)
                    for name, value in level.items()
                },
            )
            for number in range(60)
        ]

    assert soak.judge(samples(), 0)[1] == []
    assert soak.judge(samples(coordinator_memory=90_000, database=10**7), 0)[1] == []
    for growth, problem in (
        ({"coordinator_memory": 110_000}, "memory of the coordinator"),
        ({"miner_memory": 110_000}, "memory of the miner"),
        ({"miner_descriptors": 1}, "the miner has"),
    ):
        (found,) = soak.judge(samples(**growth), 0)[1]
        assert problem in found
    assert soak.judge(samples(), 3)[1] == ["3 jobs were not completed"]
    figures, _ = soak.judge(samples(database=8_000_000), 0)
    assert figures["database_bytes_per_job"] == pytest.approx(8000, rel=0.01)


def test_a_simulated_network_ends_every_job_and_repeats_itself() -> None:
    """The simulation fails if a job has not ended, or if the ledger's postings do not sum to zero."""
    options = ("--miners", "20", "--jobs", "600", "--accounts", "5")
    first, again = run("simulate.py", *options), run("simulate.py", *options)
    assert first["jobs"] >= 600
    assert first["failed_jobs"] == 0
    measured = {"ms_per_round", "matching_us_per_job", "processor_seconds"}
    assert {name: first[name] for name in first.keys() - measured} == {
        name: again[name] for name in again.keys() - measured
    }


def test_a_round_of_matching_is_measured_for_each_number_of_miners() -> None:
    rows = run("rounds.py", "--idle", "10", "20", "--kinds", "8")["8"]
    assert [row.keys() for row in rows] == [{"first", "one", "all", "impossible", "many_changed"}] * 2


def test_what_starting_takes_is_measured() -> None:
    figures = run("start.py", "--rounds", "0")
    assert 0 < figures["python -c pass"] < figures["aitbc --version"] < figures["coordinator until ready"]
    assert figures["agent until ready"] < figures["agent until its first job"]
