"""Other job queues on the same machine: jobs per second and processor time per job, beside a complete cycle of this project.

    .venv/bin/python benchmarks/peers.py [--jobs 2000] [--python PYTHON] [--redis redis-server] [--json]

Each queue enqueues jobs that do nothing, one by one, while one worker process runs them. A cycle of this project is more: submission,
claim, a signed result, payment, log, status and receipt, all on disk. Celery, Dramatiq and Taskiq keep their queues in Redis, here
without a disk; procrastinate keeps its own in PostgreSQL, which waits for the disk at each job as this project does.

PYTHON is an interpreter with the queues; a virtual environment of their own keeps their dependencies apart:

    python3 -m venv build/peers && build/peers/bin/pip install 'celery[redis]' dramatiq[redis] taskiq taskiq-redis procrastinate 'psycopg[binary,pool]'

It also needs Debian's `redis-server` and PostgreSQL's server, the latter with the user `postgres` if started as root. What is missing
is skipped, and the output says so.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from measuring.disk import sync_milliseconds
from measuring.ports import reserved_port, wait_for_port

HERE = Path(__file__).parent
LIMIT_SECONDS = 180
ROUNDS = 3


@dataclass(frozen=True)
class Peer:
    """A queue: the arguments of Python that start its worker, and what it needs besides Python."""

    module: str
    worker: tuple[str, ...]
    needs: str
    prepare: tuple[str, ...] = ()


PEERS = {
    "Celery, Redis": Peer("with_celery", ("-m", "celery", "-A", "with_celery", "worker", "-P", "solo", "-l", "ERROR"), "redis"),
    "Dramatiq, Redis": Peer("with_dramatiq", ("-m", "dramatiq", "with_dramatiq", "-p", "1", "-t", "8"), "redis"),
    "Taskiq, Redis": Peer("with_taskiq", ("-m", "taskiq", "worker", "with_taskiq:broker", "-w", "1"), "redis"),
    "procrastinate, PostgreSQL": Peer(
        "with_procrastinate", ("-m", "procrastinate", "--app=with_procrastinate.app", "worker", "--concurrency", "32"), "postgresql",
        ("-m", "procrastinate", "--app=with_procrastinate.app", "schema", "--apply"),
    ),
}  # fmt: skip


@contextmanager
def running(
    command: Sequence[str | Path], user: str = "", **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process with its children during the context, at most as long as this process lives."""
    bound = [sys.executable, HERE / "peers/bound.py", user, *command]
    null = subprocess.DEVNULL
    with subprocess.Popen(bound, stdin=subprocess.PIPE, stdout=null, stderr=null, **options) as process:
        yield process  # at the end, its standard input is closed


@contextmanager
def redis(program: str, folder: Path) -> Iterator[tuple[str, int]]:
    """Run Redis without a disk. Yield its URL and process id."""
    with reserved_port() as port:
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        with running(command) as process:
            wait_for_port(port)
            yield f"redis://127.0.0.1:{port}/0", process.pid


@contextmanager
def postgresql(programs: Path, folder: Path) -> Iterator[tuple[str, int]]:
    """Run PostgreSQL in a new directory. Yield its connection string and process id."""
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:
        as_user = {"user": "postgres", "group": "postgres"}
        for path in (folder, folder.parent):
            path.chmod(0o755)
        shutil.chown(folder, "postgres", "postgres")
    initdb: list[str | Path] = [
        programs / "initdb",
        "-D",
        "data",
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
    ]
    subprocess.run(initdb, cwd=folder, check=True, stdout=subprocess.DEVNULL, **as_user)
    with reserved_port() as port:
        command: list[str | Path] = [programs / "postgres", "-D", "data", "-p", str(port), "-k", str(folder)]
        with running(command, as_user.get("user", ""), cwd=folder) as process:
            wait_for_port(port)
            yield f"host=127.0.0.1 port={port} user=postgres dbname=postgres", process.pid


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the processor time of processes and their descendants so far."""
    total = 0.0
    for pid in pids:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def measure(
    peer: Peer, python: str, jobs: int, environment: Mapping[str, str], server: int
) -> dict[str, Any]:
    """Return the rate and the cost of a queue."""
    folder = HERE / "peers"
    with tempfile.TemporaryDirectory() as name:
        done = Path(name) / "done"
        values = {**os.environ, **environment, "PEERS_JOBS": str(jobs), "PEERS_DONE": str(done)}
        if peer.prepare:
            subprocess.run(
                [python, *peer.prepare], cwd=folder, env=values, check=True, stdout=subprocess.DEVNULL
            )
        rates, costs = [], []
        with running([python, *peer.worker], cwd=folder, env=values) as worker:

            def spent() -> tuple[float, float]:
                return time.monotonic(), cpu_seconds([worker.pid, server, os.getpid()])

            def enqueue(number: int) -> None:
                command = [python, f"{peer.module}.py", str(number)]
                subprocess.run(
                    command,
                    cwd=folder,
                    env=values,
                    check=True,
                    timeout=LIMIT_SECONDS,
                    stderr=subprocess.DEVNULL,
                )

            for number in range(ROUNDS + 1):  # the first warms up
                before = spent()
                enqueue(0)
                started = spent()
                enqueue(jobs)
                while not done.exists():
                    if time.monotonic() - started[0] > LIMIT_SECONDS:
                        sys.exit(f"{peer.module} did not run its jobs.")
                    time.sleep(0.002)
                ended = spent()
                done.unlink()
                # Without the start of the process that adds the jobs.
                seconds, processor = (
                    ended[part] - started[part] - (started[part] - before[part]) for part in (0, 1)
                )
                if number:
                    rates.append(jobs / seconds)
                    costs.append(processor * 1000 / jobs)
    return {
        "jobs_per_second": round(statistics.median(rates)),
        "cpu_ms_per_job": round(statistics.median(costs), 2),
    }


def ours(jobs: int) -> dict[str, Any]:
    """Return the rate and the cost of this project's cycles."""
    command: list[str | Path] = [
        sys.executable,
        HERE / "cycle.py",
        "--cycles",
        str(jobs),
        "--rounds",
        str(ROUNDS),
        "--json",
    ]
    done = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    costs = [sum(figures["cpu_ms_per_cycle"].values()) for figures in done["rounds"]]
    return {
        "jobs_per_second": round(done["cycles_per_second"]),
        "cpu_ms_per_job": round(statistics.median(costs), 2),
    }


def main() -> None:
    """Measure and print a table; with --json one JSON object."""
    parser = argparse.ArgumentParser(description="Measure other job queues beside this project.")
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--python", default=str(HERE.parent / "build/peers/bin/python"))
    parser.add_argument("--redis", default=shutil.which("redis-server"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    servers = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    missing = []
    found: dict[str, dict[str, Any]] = {"this project, SQLite": ours(options.jobs)}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        disk = sync_milliseconds(folder)
        running_servers: dict[str, tuple[str, int]] = {}
        if options.redis:
            running_servers["redis"] = stack.enter_context(redis(options.redis, folder))
        if servers:
            data = folder / "postgresql"
            data.mkdir()
            running_servers["postgresql"] = stack.enter_context(postgresql(servers[-1], data))
        environment = {f"PEERS_{name.upper()}": url for name, (url, _) in running_servers.items()}
        for name, peer in PEERS.items():
            if peer.needs not in running_servers or not Path(options.python).exists():
                missing.append(name)
                continue
            server = running_servers[peer.needs][1]
            found[name] = measure(peer, options.python, options.jobs, environment, server)
    if options.json:
        print(json.dumps({"queues": found, "disk_sync_ms": round(disk, 3), "missing": missing}))
        return
    print(f"disk sync {disk:.3f} ms\n\n{'queue':28} jobs/s   CPU ms per job, all processes")
    for name, figures in found.items():
        print(f"{name:28} {figures['jobs_per_second']:6} {figures['cpu_ms_per_job']:17}")
    if missing:
        print(
            f"\nNot measured, because it is not installed: {', '.join(missing)}. See the beginning of this file."
        )


if __name__ == "__main__":
    main()
