"""Complete signed cycles per second: submit, claim, result, status, receipt, on SQLite with `synchronous=FULL`.

    .venv/bin/python benchmarks/cycle.py [--cycles 2000] [--rounds 3] [--concurrency 32] [--postgresql REPLICAS] [--flame-graph FILE.svg] [--json]

Starts a real `aitbc-agent coordinator` with an empty data directory, and in a process of its own a scripted miner that uses the
real protocol over its WebSocket (`measuring/miner.py`), with `--concurrency` clients. One cycle: the client sends `POST /v1/jobs`;
the miner receives the lease, signs a result and sends it; when the result is accepted, the client requests the status, which must be
completed, and the receipt. Clients, miner and coordinator share the machine, so the output shows the processor time of each. It also
shows the disk's speed during the run (a 4 KiB write with fdatasync), since every submission, claim and result waits for the disk.
Afterwards all jobs must be completed, and the receipts and results of a sample must verify offline. The rate is the median of the
rounds. The exit status is 1 if anything was lost.

With `--postgresql`, so many replicas share a PostgreSQL server of the benchmark's own, with `synchronous_commit=on`. The clients are spread
over the replicas, and the miner is connected to the last one. "pickup" is the time from the response to a submission to the lease at
the miner: with `--concurrency 1` that of an idle miner, and with two replicas every job crosses from one to the other. With `--snapshot`,
a transaction of another program holds a snapshot from the second round on, as a backup or a forgotten session does.

With `--flame-graph`, py-spy samples the coordinator's threads during the rounds while they hold the interpreter, which slows them down.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import structlog
import uvloop
from measuring.connection import LIMIT_SECONDS, Connection
from measuring.disk import sync_milliseconds
from measuring.miner import MODEL, SERVICE
from measuring.processes import Running, coordinator, cpu_seconds, tree_cpu_seconds

from aitbc.receipts import verify_receipt

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

HERE = Path(__file__).parent
WARM_UP = 200
SAMPLE = 100
ENVIRONMENT = {
    "AITBC_COORDINATOR__OPEN_ENROLMENT": "true",
    "AITBC_LOG__LEVEL": "warning",
}
JOB = {
    "name": "cycle",
    "type": SERVICE,
    "parameters": {"model": MODEL, "prompt": "Name the capital of France.", "max_tokens": 32},
    "pricing": {"max_cost": "0.01"},
}
SUBMISSION = json.dumps(JOB).encode()


@dataclass(frozen=True, slots=True)
class Cycle:
    """CLOCK_MONOTONIC in nanoseconds at each step of one job, in the processes of its client and its miner."""

    job_id: str
    sent: int
    submitted: int
    leased: int
    delivered: int
    accepted: int
    requested: int
    status: int
    receipt: int

    def milliseconds(self) -> dict[str, float]:
        """Return the duration of each step. The claim is measured from the sending of the submission."""
        steps = {
            "submit": self.submitted - self.sent,
            "claim": self.leased - self.sent,
            "pickup": self.leased - self.submitted,
            "result": self.accepted - self.delivered,
            "status": self.status - self.requested,
            "receipt": self.receipt - self.status,
            "whole": self.receipt - self.sent,
        }
        return {name: nanoseconds / 1e6 for name, nanoseconds in steps.items()}


class Miner:
    """The scripted miner's process and its reports."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._stopping = False
        self._reports: dict[str, asyncio.Future[tuple[int, int, int]]] = {}
        self._reader = asyncio.create_task(self._read(), name="miner-output")

    @classmethod
    async def start(cls, url: str, slots: int) -> Miner:
        """Start the process, which registers the miner."""
        command = (sys.executable, "-m", "measuring.miner", url, str(slots))
        return cls(await asyncio.create_subprocess_exec(*command, cwd=HERE, stdout=subprocess.PIPE))

    async def accepted(self, job_id: str) -> tuple[int, int, int]:
        """Return when the job's lease arrived, its result was sent, and the result was accepted."""
        async with asyncio.timeout(LIMIT_SECONDS):
            times = await self._about(job_id)
        del self._reports[job_id]
        return times

    def _about(self, job_id: str) -> asyncio.Future[tuple[int, int, int]]:
        if job_id not in self._reports:
            self._reports[job_id] = asyncio.get_running_loop().create_future()
        return self._reports[job_id]

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            job_id, leased, delivered, accepted = line.decode().split()
            self._about(job_id).set_result((int(leased), int(delivered), int(accepted)))
        if not self._stopping:
            sys.exit("The miner's process has ended.")

    async def stop(self) -> None:
        """End the process."""
        self._stopping = True
        if self.process.returncode is None:
            self.process.terminate()
        await self.process.wait()
        await self._reader


async def one_cycle(connection: Connection, miner: Miner) -> Cycle:
    """Process one job from its submission to its receipt. Exits if a response is wrong."""
    sent = time.monotonic_ns()
    status, body = await connection.request("POST", "/v1/jobs", SUBMISSION)
    submitted = time.monotonic_ns()
    if status != 201:
        sys.exit(f"A submission was answered {status}: {body.decode()}")
    job_id = json.loads(body)["job_id"]
    leased, delivered, accepted = await miner.accepted(job_id)
    requested = time.monotonic_ns()
    status, body = await connection.request("GET", f"/v1/jobs/{job_id}")
    completed = time.monotonic_ns()
    if status != 200 or b'"completed"' not in body:
        sys.exit(f"The status of a finished job was answered {status}: {body.decode()}")
    status, body = await connection.request("GET", f"/v1/receipts/{job_id}")
    if status != 200:
        sys.exit(f"A receipt was answered {status}: {body.decode()}")
    receipt = time.monotonic_ns()
    return Cycle(job_id, sent, submitted, leased, delivered, accepted, requested, completed, receipt)


@dataclass(frozen=True, slots=True)
class Server:
    """A PostgreSQL server: the URL of its database, and its process."""

    url: str
    process: psutil.Process

    @contextmanager
    def held_snapshot(self) -> Iterator[None]:
        """Hold a snapshot, so that the server cannot remove versions of rows that are older than it."""
        with psycopg.connect(self.url) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.execute("SELECT count(*) FROM jobs")
            yield


async def many_cycles(connections: Sequence[Connection], miner: Miner, count: int) -> list[Cycle]:
    """Run `count` cycles, one after the other on each connection."""
    left = iter(range(count))
    done: list[Cycle] = []

    async def client(connection: Connection) -> None:
        done.extend([await one_cycle(connection, miner) for _ in left])

    await asyncio.gather(*(client(connection) for connection in connections))
    return done


@dataclass(frozen=True, slots=True)
class Spent:
    """Resources used so far: elapsed and processor seconds, commits and writes of the database."""

    clock: float
    processors: dict[str, float]
    commits: int
    writes: int

    @classmethod
    async def now(cls, replicas: Sequence[Running], server: psutil.Process | None, miner: Miner) -> Spent:
        """Read the figures from the processes."""
        databases = []
        for replica in replicas:
            admin = await Connection.open(replica.url, replicas[0].content["admin_key"])
            databases.append((await admin.json("GET", "/v1/admin/overview"))["database"])
            admin.close()
        processors = {
            "coordinator": sum(cpu_seconds(replica.process.pid) for replica in replicas),
            "database": 0.0 if server is None else tree_cpu_seconds(server),
            "miner": cpu_seconds(miner.process.pid),
            "clients": cpu_seconds(os.getpid()),
        }
        return cls(
            time.monotonic(),
            processors,
            sum(database["commits"] for database in databases),
            sum(database["writes"] for database in databases),
        )


def round_figures(before: Spent, after: Spent, cycles: int) -> dict[str, Any]:
    """The cost of one round."""
    seconds = after.clock - before.clock
    commits, writes = after.commits - before.commits, after.writes - before.writes
    return {
        "cycles_per_second": round(cycles / seconds, 1),
        "cpu_ms_per_cycle": {
            name: round((after.processors[name] - before.processors[name]) * 1000 / cycles, 3)
            for name in after.processors
        },
        "commits_per_second": round(commits / seconds, 1),
        "writes_per_commit": round(writes / commits, 2),
    }


async def check(client: Connection, log_key: str, cycles: Sequence[Cycle]) -> dict[str, int]:
    """Check that no job was lost, and verify a sample of the receipts. Exits otherwise."""
    total = (await client.json("GET", "/v1/jobs?status=completed&limit=1"))["total"]
    if total != len(cycles):
        sys.exit(f"{len(cycles)} jobs were submitted, but {total} are completed.")
    sample = random.sample(list(cycles), min(SAMPLE, len(cycles)))
    for cycle in sample:
        receipt = await client.json("GET", f"/v1/receipts/{cycle.job_id}")
        results = (await client.json("GET", f"/v1/jobs/{cycle.job_id}/results"))["results"]
        verify_receipt(receipt, log_key=log_key, results=results).raise_for_failure()
    return {"jobs_completed": total, "receipts_verified": len(sample)}


def latencies(cycles: Sequence[Cycle]) -> dict[str, dict[str, float]]:
    """Return the median, the 95th and the 99th percentile of each step in milliseconds."""
    steps = [cycle.milliseconds() for cycle in cycles]
    found = {}
    for name in steps[0]:
        cuts = statistics.quantiles((step[name] for step in steps), n=100)
        found[name] = {"p50": round(cuts[49], 2), "p95": round(cuts[94], 2), "p99": round(cuts[98], 2)}
    return found


@contextmanager
def sampled(pid: int, flame_graph: Path | None) -> Iterator[None]:
    """Write a flame graph of the process during the context, if a file is given."""
    if flame_graph is None:
        yield
        return
    command = ["--pid", str(pid), "--rate", "400", "--gil", "--function", "--output", str(flame_graph)]
    sampler = subprocess.Popen(
        [Path(sys.executable).with_name("py-spy"), "record", *command], stdout=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        sampler.send_signal(signal.SIGINT)  # as its user ends it
        sampler.wait(LIMIT_SECONDS)


async def measure(
    folder: Path, replicas: Sequence[Running], server: Server | None, options: argparse.Namespace
) -> dict[str, Any]:
    """Return all figures of a run."""
    agent = replicas[0]
    process = None if server is None else server.process
    clients = [
        await Connection.open(replicas[number % len(replicas)].url, agent.content["client_key"])
        for number in range(options.concurrency)
    ]
    miner = await Miner.start(replicas[-1].url, max(1, min(256, options.concurrency)))
    try:
        warm = await many_cycles(clients, miner, max(WARM_UP, options.concurrency))
        rounds, measured, syncs = [], [], []
        with ExitStack() as stack:
            stack.enter_context(sampled(agent.process.pid, options.flame_graph))
            for number in range(options.rounds):
                if options.snapshot and number == 1:
                    assert server is not None, "--snapshot needs --postgresql"
                    stack.enter_context(server.held_snapshot())
                syncs.append(sync_milliseconds(folder))
                before = await Spent.now(replicas, process, miner)
                cycles = await many_cycles(clients, miner, options.cycles)
                rounds.append(round_figures(before, await Spent.now(replicas, process, miner), len(cycles)))
                measured += cycles
        checked = await check(clients[0], agent.content["log_key"], [*warm, *measured])
    finally:
        await miner.stop()
    rates = [figures["cycles_per_second"] for figures in rounds]
    return {
        "cycles_per_second": statistics.median(rates),
        "concurrency": options.concurrency,
        "cycles_per_round": options.cycles,
        "rounds": rounds,
        "latency_ms": latencies(measured),
        "disk_sync_ms": [round(sync, 3) for sync in syncs],
        "load_average": os.getloadavg()[0],
        **checked,
    }


def show(figures: dict[str, Any]) -> None:
    """Print a table."""
    print(
        f"cycles per second    {figures['cycles_per_second']:g} (median of {len(figures['rounds'])} rounds)"
    )
    print(f"concurrency          {figures['concurrency']}, load average {figures['load_average']:.1f}")
    print(f"disk sync            {', '.join(f'{sync:g}' for sync in figures['disk_sync_ms'])} ms")
    print(
        "\nround   cycles/s   CPU ms per cycle: coordinator  database   miner   clients   commits/s   writes/commit"
    )
    for number, one in enumerate(figures["rounds"], 1):
        spent = one["cpu_ms_per_cycle"]
        print(
            f"{number:5} {one['cycles_per_second']:10.1f} {spent['coordinator']:31.2f} {spent['database']:9.2f} {spent['miner']:7.2f} "
            f"{spent['clients']:9.2f} {one['commits_per_second']:11.1f} {one['writes_per_commit']:15.2f}"
        )
    print("\nstep       median      95 %      99 %  ms")
    for name, step in figures["latency_ms"].items():
        print(f"{name:8} {step['p50']:8.2f} {step['p95']:9.2f} {step['p99']:9.2f}")
    print(
        f"\n{figures['jobs_completed']} jobs completed, none lost; {figures['receipts_verified']} receipts verified"
    )


def started(folder: Path, replicas: int | None, stack: ExitStack) -> tuple[list[Running], Server | None]:
    """Start a coordinator on SQLite, or replicas on a PostgreSQL server, and return them with the server."""
    if replicas is None:
        return [stack.enter_context(coordinator(folder / "data", ENVIRONMENT))], None
    from support.servers import postgres  # noqa: PLC0415 - needs PostgreSQL's programs
    from support.servers.replicas import SHARED_FILES  # noqa: PLC0415 - as above

    settings = {"synchronous_commit": "on", "shared_buffers": "512MB", "max_wal_size": "8GB"}
    server = stack.enter_context(postgres.running(**settings))
    assert server.process is not None
    url = server.new_database()
    artifacts = folder / "artifacts"
    artifacts.mkdir()
    environment = ENVIRONMENT | {
        "AITBC_DATABASE__URL": url,
        "AITBC_ARTIFACTS__URL": artifacts.as_uri(),
    }
    first = folder / "replica0" / "coordinator"
    made = []
    for number in range(replicas):
        keys = folder / f"replica{number}" / "coordinator"
        if number:
            keys.mkdir(parents=True)
            for name in SHARED_FILES:
                shutil.copy(first / name, keys / name)
        made.append(stack.enter_context(coordinator(keys.parent, environment)))
    return made, Server(url, psutil.Process(server.process.pid))


def main() -> None:
    """Measure and print a table; with --json one JSON object."""
    parser = argparse.ArgumentParser(description="Measure complete signed cycles per second.")
    parser.add_argument("--cycles", type=int, default=2000, help="per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=32, help="concurrent clients")
    parser.add_argument(
        "--postgresql", type=int, metavar="REPLICAS", help="on PostgreSQL, with so many replicas"
    )
    parser.add_argument("--snapshot", action="store_true", help="hold a snapshot from the second round on")
    parser.add_argument("--flame-graph", type=Path, help="file for a flame graph (SVG)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ExitStack() as stack:
            replicas, server = started(folder, options.postgresql, stack)
            figures = uvloop.run(measure(folder, replicas, server, options))
    if options.json:
        print(json.dumps(figures))
    else:
        show(figures)


if __name__ == "__main__":
    main()
