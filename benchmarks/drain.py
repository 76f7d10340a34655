"""Jobs per second that the store layer takes from its queue: batches of 50, without HTTP, on SQLite and on PostgreSQL.

    .venv/bin/python benchmarks/drain.py [--jobs 10000] [--connections 4] [--engines sqlite postgresql] [--json]

"claimed": each transaction locks 50 waiting jobs and gives each to a miner, with everything that belongs to it: the row under guard of
its fence and state, the numbers of jobs by state, and the event. "completed": each transaction ends 50 running jobs with their results:
the row, the run, results, receipt, ledger in double entry, balances, statistics of the miners, the queue of the log, events, history.
Signatures are not part of it. SQLite has one writer; on PostgreSQL `--connections` processes drain the queue at the same time, each its
own share of the jobs, with `synchronous_commit=on` and `fsync=on`. The output has the processor time of the clients and of the server,
the WAL bytes per job, and the disk's speed (a 4 KiB write with fdatasync) in the same directory. The server is one of the benchmark's own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
from measuring.disk import sync_milliseconds
from measuring.processes import tree_cpu_seconds
from sqlalchemy import insert

from agent.coordinator import lifecycle
from agent.coordinator.consequences import Change
from agent.coordinator.features.log import store as log_store
from agent.coordinator.features.log.store import NewLeaf
from agent.coordinator.features.replicas.store.database import PostgresDatabase
from agent.coordinator.store import events, jobs, ledger, receipts
from agent.coordinator.store.database import Connection, Database
from agent.coordinator.store.events import NewEvent
from agent.coordinator.store.jobs import JobRecord
from agent.coordinator.store.receipts import ReceiptRecord
from agent.coordinator.store.schema import tables
from agent.coordinator.store.schema.upgrade import prepare
from agent.coordinator.store.sqlite.database import SQLiteDatabase
from agent.core.jobs import Claim, Complete, Job, JobState
from agent.core.market.ledger import credit

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.servers import postgres

BATCH = 50
LIMIT_SECONDS = 300
MINERS = 8
SERVICE = "llm_inference"
SPEC = json.dumps({"parameters": {"prompt": "Name the capital of France."}, "files": {}, "model": "m"})
RESULTS = json.dumps({"text": "Paris.", "units": 2})
RECEIPT = json.dumps({"envelope": "x" * 900})
Ids = Sequence[str]


def fill(connection: Connection, share: int, count: int) -> list[str]:
    """Store an account with credit and its waiting jobs."""
    account_id, now = f"account_{share}", time.time()
    connection.execute(insert(tables.accounts), {"account_id": account_id, "name": "a", "created_at": now})
    entry = credit(account_id, 10**14, 0)
    ledger.add_booking(
        connection, f"tx_c{share}", ledger.TransactionKind.CREDIT, account_id, 10**14, entry, note="", now=now
    )
    for number in range(MINERS):
        values = {
            "miner_id": miner_of(share, number), "public_key": f"{share}-{number}".encode(), "name": "m", "session": 1,
            "session_sha256": f"{share}-{number}", "capabilities": "{}", "telemetry": "[]", "registered_at": now, "seen_at": now,
        }  # fmt: skip
        connection.execute(insert(tables.miners), values)
    ids = [f"job_{share}_{number:08}" for number in range(count)]
    for job_id in ids:
        lifecycle.create(connection, _record(job_id, account_id, now))
    return ids


def miner_of(share: int, number: int) -> str:
    """Return the id of a miner."""
    return "miner_" + ("abcdefgh"[share] + "abcdefgh"[number]).ljust(26, "a")


def _record(job_id: str, account_id: str, now: float) -> JobRecord:
    return JobRecord(
        life=Job(job_id, JobState.SUBMITTED, timeout_seconds=600.0, max_attempts=3),
        account_id=account_id,
        service=SERVICE,
        type="llm-inference",
        name="drain",
        model="m",
        spec=SPEC,
        spec_digest="0" * 64,
        cpu_millis=0,
        memory=0,
        gpus=0,
        priority=5,
        max_cost=10**6,
        fee_ppm=50_000,
        requested_miner_id=None,
        missing_files=None,
        created_at=now,
    )


def claim(connection: Connection, share: int, ids: Ids) -> None:
    """Give waiting jobs to miners."""
    now = time.time()
    found = jobs.lock_claimable(connection, ids)
    claims = [
        (found[job_id], Claim(miner_of(share, number % MINERS), 1, now, 60.0), 1000)
        for number, job_id in enumerate(ids)
    ]
    lifecycle.claim(connection, claims, now)


def complete(connection: Connection, share: int, ids: Ids) -> None:  # noqa: ARG001 - as `claim`
    """End running jobs with their results."""
    now = time.time()
    found = jobs.lock_many(connection, ids)
    changes = []
    for job_id in ids:
        record = found[job_id]
        event = Complete(record.miner_id or "", record.life.fence, now)
        changes.append(Change.by(record, event, progress=100.0, units="2"))
    lifecycle.save(connection, changes, now)
    jobs.add_results(connection, [(job_id, RESULTS) for job_id in ids])
    made = [
        ReceiptRecord("receipt" + job_id[3:], job_id, found[job_id].miner_id or "", "0" * 64, RECEIPT, now)
        for job_id in ids
    ]
    receipts.add(connection, made)
    log_store.queue(connection, [NewLeaf(receipt.receipt_id, b"x" * 900, derived=True) for receipt in made])
    created = [
        NewEvent(
            "receipt_created", {"receipt_id": receipt.receipt_id}, "account", receipt.miner_id, receipt.job_id
        )
        for receipt in made
    ]
    events.add(connection, created, now)


STEPS = {"claimed": claim, "completed": complete}


def opened(target: str) -> Database:
    """Open the database at a path or a URL."""
    database: SQLiteDatabase | PostgresDatabase
    if target.startswith("postgresql://"):
        database = PostgresDatabase(target, directory=Path(), writers=1, readers=1)
    else:
        database = SQLiteDatabase(Path(target), readers=1)
    database.open(prepare)
    return database


def drain(target: str, step: str, share: int, ids: Ids, begin: Any, ended: Any) -> None:
    """Drain one share of the queue, in a process of its own."""
    database = opened(target)
    batches = [ids[start : start + BATCH] for start in range(0, len(ids), BATCH)]
    begin.wait()

    async def work() -> None:
        for batch in batches:
            await database.write(STEPS[step], share, batch)

    before = time.process_time()
    try:
        asyncio.run(work())
    finally:
        ended.put(time.process_time() - before)
        database.close()


def measured(
    target: str, step: str, shares: Sequence[Ids], server: psutil.Process | None
) -> dict[str, float]:
    """Drain all shares at the same time. Return jobs per second, and processor time per job in microseconds."""
    context = multiprocessing.get_context("spawn")
    begin, ended = context.Barrier(len(shares) + 1), context.Queue()
    processes = [
        context.Process(target=drain, args=(target, step, share, ids, begin, ended))
        for share, ids in enumerate(shares)
    ]
    for process in processes:
        process.start()
    begin.wait()
    started, served = time.perf_counter(), _served(server)
    spent = sum(ended.get(timeout=LIMIT_SECONDS) for _ in processes)
    seconds, served = time.perf_counter() - started, _served(server) - served
    for process in processes:
        process.join()
        assert process.exitcode == 0, "a process failed; it has printed why"
    count = sum(map(len, shares))
    return {
        "jobs per second": count / seconds,
        "client us per job": spent / count * 1e6,
        "server us per job": served / count * 1e6,
    }


def _served(server: psutil.Process | None) -> float:
    return 0.0 if server is None else tree_cpu_seconds(server)


def on_sqlite(count: int) -> dict[str, dict[str, float]]:
    """Return the figures of one writer on SQLite."""
    with tempfile.TemporaryDirectory(prefix="drain") as directory:
        target = str(Path(directory) / "drain.db")
        database = opened(target)
        ids = asyncio.run(database.write(fill, 0, count))
        database.close()
        figures = {}
        for step in STEPS:
            figures[f"sqlite, {step}"] = measured(target, step, [ids], None)
            figures[f"sqlite, {step}"]["disk sync ms"] = sync_milliseconds(Path(directory))
        return figures


def on_postgresql(count: int, connections: int) -> dict[str, dict[str, float]]:
    """Return the figures of several processes on a PostgreSQL server."""
    settings = {"shared_buffers": "512MB", "max_wal_size": "8GB", "synchronous_commit": "on"}
    with ExitStack() as stack:
        server = stack.enter_context(postgres.running(**settings))
        target = server.new_database()
        database = opened(target)
        each = count // connections
        shares = [asyncio.run(database.write(fill, share, each)) for share in range(connections)]
        database.close()
        server.execute("VACUUM ANALYZE", target.rpartition("/")[2].partition("?")[0])
        server.execute("CHECKPOINT")
        figures = {}
        process = psutil.Process(server.process.pid) if server.process else None
        for step in STEPS:
            (before,) = server.execute("SELECT pg_current_wal_lsn() - '0/0'")[0]
            name = f"postgresql, {step}"
            figures[name] = measured(target, step, shares, process)
            (after,) = server.execute("SELECT pg_current_wal_lsn() - '0/0'")[0]
            figures[name]["WAL bytes per job"] = float(after - before) / (each * connections)
            figures[name]["disk sync ms"] = sync_milliseconds(server.directory)
        return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument(
        "--engines", nargs="*", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"]
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    if "sqlite" in options.engines:
        figures |= on_sqlite(options.jobs)
    if "postgresql" in options.engines:
        figures |= on_postgresql(options.jobs, options.connections)
    if options.json:
        print(json.dumps(figures))
        return
    for name, values in figures.items():
        print(f"{name:<24}" + "  ".join(f"{key} {value:,.2f}" for key, value in values.items()))


if __name__ == "__main__":
    main()
