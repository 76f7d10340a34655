"""Time and memory of `aitbc-agent migrate` from SQLite to PostgreSQL, with `kill -9` on the way.

    .venv/bin/python benchmarks/migrate.py [--jobs 200000] [--kills 2] [--data DIRECTORY] [--json]

Writes an installation with so many completed jobs: signed receipts with both attestations, results, runs, payments in double entry,
events, statistics, and their leaves in the log, by the functions that a coordinator uses. With `--data`, the installation stays in that
directory, and the next run uses it. Then the real command moves it to a PostgreSQL server of the benchmark's own (fsync and
`synchronous_commit` on). It is killed `--kills` times while it copies, at equal distances, and started again each time. The output has
the rows and their rate while they were copied, the time of the comparison at the end, the greatest resident memory of the command, its
processor time and that of the server, and the disk's speed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import psutil
from drain import MINERS, fill
from measuring.disk import sync_milliseconds
from measuring.processes import AGENT, coordinator

from agent.coordinator import lifecycle
from agent.coordinator.consequences import Change
from agent.coordinator.features.log import store as log_store
from agent.coordinator.features.log.sequencer import BATCH as SEQUENCED
from agent.coordinator.features.log.sequencer import integrate
from agent.coordinator.features.log.store import NewLeaf
from agent.coordinator.signer import Signer, load_signer
from agent.coordinator.store import jobs, receipts
from agent.coordinator.store.database import Connection
from agent.coordinator.store.receipts import ReceiptRecord
from agent.coordinator.store.schema.upgrade import prepare
from agent.coordinator.store.sqlite.database import SQLiteDatabase
from agent.core.jobs import Claim, Complete
from agent.core.values.quantities import format_time, from_units
from agent.settings.coordinator import CoordinatorSettings
from aitbc.canonical import canonical_json
from aitbc.log import receipt_leaf
from aitbc.receipts import build_receipt

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.clients.scripted_miner import ScriptedMiner
from support.servers import postgres

BATCH = 500
RESULTS = {"text": "An answer as long as most answers are. " * 5, "units": 2}
PRICE = 1000


def write(data: Path, count: int) -> None:
    """Write an installation with `count` completed jobs."""
    with coordinator(data, {}):
        pass
    signer = load_signer(data / "coordinator/log.key", CoordinatorSettings().origin)
    database = SQLiteDatabase(data / "coordinator/coordinator.db")
    database.open(prepare)

    async def work() -> None:
        ids = await database.write(fill, 0, count)
        miners = await database.write(_miners)
        for start in range(0, count, BATCH):
            await database.write(_finish, ids[start : start + BATCH], miners, signer)
            for _ in range(2 * BATCH // SEQUENCED + 1):
                await database.write(integrate, signer, time.time())

    asyncio.run(work())
    database.close()


def _miners(connection: Connection) -> list[tuple[str, ScriptedMiner]]:
    """Return the stored miners, each with a key that signs for it."""
    ids = [str(row[0]) for row in connection.exec_driver_sql("SELECT miner_id FROM miners")]
    return [(miner_id, ScriptedMiner("http://127.0.0.1:9")) for miner_id in ids[:MINERS]]


def _finish(
    connection: Connection, ids: Sequence[str], miners: Sequence[tuple[str, ScriptedMiner]], signer: Signer
) -> None:
    """Let miners take and complete jobs."""
    now = time.time()
    found = jobs.lock_claimable(connection, ids)
    given = [miners[number % len(miners)] for number in range(len(ids))]
    claims = [
        (found[job_id], Claim(miner_id, 1, now, 60.0), PRICE)
        for job_id, (miner_id, _) in zip(ids, given, strict=True)
    ]
    lifecycle.claim(connection, claims, now)
    running = jobs.lock_many(connection, ids)
    changes = [
        Change.by(
            running[job_id], Complete(miner_id, running[job_id].life.fence, now), progress=100.0, units="2"
        )
        for job_id, (miner_id, _) in zip(ids, given, strict=True)
    ]
    lifecycle.save(connection, changes, now)
    jobs.add_results(connection, [(job_id, canonical_json(RESULTS).decode()) for job_id in ids])
    made, leaves = [], []
    for job_id, (miner_id, miner) in zip(ids, given, strict=True):
        record, leaf = _receipt(running[job_id], miner_id, miner, signer, now)
        made.append(record)
        leaves.append(NewLeaf(record.receipt_id, leaf, derived=True))
    receipts.add(connection, made)
    log_store.queue(connection, leaves)


def _receipt(
    record: Any, miner_id: str, miner: ScriptedMiner, signer: Signer, now: float
) -> tuple[ReceiptRecord, bytes]:
    """Return a signed receipt and its leaf."""
    miner.registration = {"origin": signer.origin}
    lease = {
        "job_id": record.job_id, "fence": record.life.fence, "service": record.service, "spec_digest": record.spec_digest,
        "spec": {"model": record.model, "files": {}}, "assigned_at": format_time(now), "unit_price": from_units(PRICE),
        "max_cost": from_units(record.max_cost),
    }  # fmt: skip
    statement = miner.statement(lease, RESULTS)
    body = miner.result_body(lease, RESULTS)
    receipt = build_receipt(
        envelope=body["envelope"], public_key=bytes(miner.key.verify_key), statement=statement, assigned_at=format_time(now),
        completed_at=format_time(now), signing_key=signer.key,
    )  # fmt: skip
    digest = receipt["attestations"][0]["statement_sha256"]
    text = orjson.dumps(receipt).decode()
    return ReceiptRecord(receipt["receipt_id"], record.job_id, miner_id, digest, text, now), receipt_leaf(
        body["envelope"]
    )


class Command:
    """One run of the command, with what its output says and what it needs."""

    def __init__(self, data: Path, url: str) -> None:
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            [str(AGENT), "migrate", "--to", url, "--data-dir", str(data), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[tuple[float, str]] = []
        self.memory = 0
        self.seconds = 0.0
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._watch, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stderr or ():
            self.lines.append((time.perf_counter() - self.started, line.rstrip()))

    def _watch(self) -> None:
        watched = psutil.Process(self.process.pid)
        try:
            while self.process.poll() is None:
                self.memory = max(self.memory, watched.memory_info().rss)
                times = watched.cpu_times()
                self.seconds = times.user + times.system
                time.sleep(0.05)
        except psutil.Error:
            pass

    def kill_at(self, percent: int) -> None:
        """Kill the command once it has copied so much."""
        while self.process.poll() is None:
            if any(_percent(line) >= percent for _, line in self.lines):
                self.process.kill()
                self.process.wait()
                return
            time.sleep(0.01)
        sys.exit(f"The command ended before it could be killed: {self.lines}")


def _percent(line: str) -> int:
    last = line.rpartition(", ")[2]
    return int(last.removesuffix(" %")) if last.endswith(" %") else -1


def measure(data: Path, kills: int) -> dict[str, Any]:
    """Move the installation, killing the command `kills` times. Return the figures."""
    settings = {"shared_buffers": "512MB", "max_wal_size": "1GB", "synchronous_commit": "on"}
    with ExitStack() as stack:
        server = stack.enter_context(postgres.running(**settings))
        url = server.new_database("template1")
        runs = []
        before = time.perf_counter()
        for number in range(kills):
            runs.append(Command(data, url))
            runs[-1].kill_at(100 * (number + 1) // (kills + 1))
        runs.append(Command(data, url))
        output = runs[-1].process.stdout.read() if runs[-1].process.stdout else ""
        code = runs[-1].process.wait()
        total = time.perf_counter() - before
        if code != 0:
            sys.exit(f"The migration failed with {code}: {runs[-1].lines}")
        answer = json.loads(output)
        rows = sum(answer["rows"].values())
        phases = runs[-1].lines
        return {
            "rows": rows,
            "jobs": answer["rows"]["jobs"],
            "receipts": answer["receipts"],
            "leaves": answer["leaves"],
            "differences": answer["differences"],
            "problems": answer["problems"],
            "seconds": total,
            "memory MB": max(run.memory for run in runs) / 1e6,
            "command processor seconds": sum(run.seconds for run in runs),
            "phases of the last run": phases,
            "file MB": (data / "coordinator/coordinator.db").stat().st_size / 1e6,
            "disk sync ms": sync_milliseconds(server.directory),
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=200_000)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--data", type=Path, help="directory of the installation, which remains")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="migrate") as folder:
        data = options.data or Path(folder) / "data"
        if not data.exists():
            write(data, options.jobs)
        (data / "coordinator/coordinator.db.moved").unlink(missing_ok=True)
        figures = measure(data, options.kills)
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:<28}{value:,.1f}" if isinstance(value, float) else f"{name:<28}{value}")


if __name__ == "__main__":
    main()
