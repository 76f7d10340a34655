"""Soak test: half an hour at half the highest rate, to detect memory and descriptors that grow with the number of jobs.

    .venv/bin/python benchmarks/soak.py [--minutes 30] [--rate 20] [--json]

Starts a real `aitbc-agent coordinator` and a real miner in two processes. The miner's runner is the campaign's
(`tests/campaign/runner.py`), installed as a third-party package would be; it answers at once. Every job passes through the
dispatcher, the link, a child process, the signature, the outbox, the receipt and the log. The first phase keeps enough jobs open to
find the highest rate. The second phase submits jobs at half of it (or at `--rate`) and reads the resident memory, the open
descriptors and the size of the database every ten seconds.

The first third of the second phase is discarded: caches and connections fill during it. The database's page caches and the stream
history are configured small so that they fill in time. The exit status is 1 if the memory of the coordinator or the miner grows by
1 MB or more per 10,000 jobs (least squares), if the number of descriptors grows, or if a job is lost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import uvloop
from measuring.connection import Connection
from measuring.disk import sync_milliseconds
from measuring.processes import AGENT, Running, coordinator, wait_for

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from campaign import runner

ENTRY_POINT = f"[aitbc.runners]\n{runner.SERVICE} = soak_runner:WorkRunner\n"
METADATA = "Metadata-Version: 2.1\nName: soak-runner\nVersion: 1.0\n"
SLOTS = 4
CLIENTS = 4
OPEN_JOBS = 32
BACKLOG = 256
"""Number of unfinished jobs at which submissions wait, so that other load does not make the queue grow."""
PACE_SECONDS = 0.05
PROBE_SECONDS = 20.0
SAMPLE_SECONDS = 10.0
END_SECONDS = 120.0
MEGABYTE = 1_000_000
JOBS = 10_000
MEGABYTES_PER_10000_JOBS = 1.0
"""Allowed growth of memory; also the least allowed in a short run, where the allocator's noise hides smaller growth."""
DESCRIPTORS = 8
"""Allowed difference in open descriptors, because of requests in progress."""
ENVIRONMENT = {
    "AITBC_COORDINATOR__OPEN_ENROLMENT": "true",
    "AITBC_COORDINATOR__LOCAL_CREDIT": "1000000000",
    "AITBC_COORDINATOR__RATE_LIMITS__ENABLED": "false",
    "AITBC_COORDINATOR__STREAMS__HISTORY": "500",
    "AITBC_DATABASE__CACHE_SIZE": "2Mi",
    "AITBC_MINER__SLOTS": str(SLOTS),
    "AITBC_LOG__LEVEL": "warning",
}
SUBMISSION = json.dumps(
    {
        "name": "soak",
        "type": runner.SERVICE,
        "parameters": {"mode": "echo", "text": "x" * 100},
        "pricing": {"max_cost": "0.01"},
    }
).encode()


@dataclass(frozen=True)
class Sample:
    """Figures after so many jobs: bytes of memory, open descriptors, bytes of the database with its log."""

    seconds: float
    jobs: int
    coordinator_memory: int
    miner_memory: int
    runner_memory: int
    coordinator_descriptors: int
    miner_descriptors: int
    database: int


class Soak:
    """The load on both agents."""

    def __init__(self, agent: Running, miner: Running, data_dir: Path) -> None:
        self._agent = psutil.Process(agent.process.pid)
        self._miner = psutil.Process(miner.process.pid)
        self._database = data_dir / "coordinator"
        self._url, self._key = agent.url, agent.content["client_key"]
        self._clients: list[Connection] = []
        self._observer: Connection
        self.submitted = 0
        self.samples: list[Sample] = []

    async def open(self) -> None:
        """Connect the clients."""
        self._clients = [await Connection.open(self._url, self._key) for _ in range(CLIENTS)]
        self._observer = await Connection.open(self._url, self._key)

    async def completed(self) -> int:
        """Return the number of completed jobs."""
        return int((await self._observer.json("GET", "/v1/jobs?status=completed&limit=1"))["total"])

    async def submit(self, count: int) -> None:
        """Submit `count` jobs over all connections."""
        left = iter(range(count))

        async def client(connection: Connection) -> None:
            for _ in left:
                status, body = await connection.request("POST", "/v1/jobs", SUBMISSION)
                if status != 201:
                    sys.exit(f"A submission was answered {status}: {body.decode()}")
                self.submitted += 1

        await asyncio.gather(*(client(connection) for connection in self._clients))

    async def highest_rate(self, seconds: float) -> float:
        """Return the number of jobs per second while the queue is never empty."""
        await self._fill(PROBE_SECONDS / 4)
        before, began = await self.completed(), time.monotonic()
        await self._fill(seconds)
        return (await self.completed() - before) / (time.monotonic() - began)

    async def _fill(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await self.submit(OPEN_JOBS - (self.submitted - await self.completed()))
            await asyncio.sleep(PACE_SECONDS)

    async def steady(self, seconds: float, rate: float) -> None:
        """Submit at a constant rate, and take samples."""
        began, first = time.monotonic(), self.submitted
        sampled = began
        while (now := time.monotonic()) < began + seconds:
            due = int((now - began) * rate) - (self.submitted - first)
            open_jobs = self.submitted - await self.completed()
            await self.submit(max(0, min(due, BACKLOG - open_jobs)))
            if now >= sampled:
                self.samples.append(await self._sample(now - began))
                sampled += SAMPLE_SECONDS
            await asyncio.sleep(PACE_SECONDS)

    async def finish(self) -> int:
        """Wait for the last jobs. Returns the number of missing ones."""
        end = time.monotonic() + END_SECONDS
        while (missing := self.submitted - await self.completed()) and time.monotonic() < end:  # noqa: ASYNC110 - it polls a server
            await asyncio.sleep(PACE_SECONDS)
        return missing

    async def _sample(self, seconds: float) -> Sample:
        children = self._miner.children(recursive=True)
        return Sample(
            seconds=round(seconds, 1),
            jobs=await self.completed(),
            coordinator_memory=self._agent.memory_info().rss,
            miner_memory=self._miner.memory_info().rss,
            runner_memory=sum(child.memory_info().rss for child in children),
            coordinator_descriptors=self._agent.num_fds(),
            miner_descriptors=self._miner.num_fds(),
            database=sum(path.stat().st_size for path in self._database.glob("coordinator.db*")),
        )


def install_runner(folder: Path) -> Path:
    """Install the runner as a package in a folder for `PYTHONPATH`. Returns the folder."""
    information = folder / "soak_runner-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(METADATA)
    (information / "entry_points.txt").write_text(ENTRY_POINT)
    shutil.copy(runner.__file__, folder / "soak_runner.py")
    return folder


def slope(samples: Sequence[Sample], name: str) -> float:
    """Return the growth of a figure per 10,000 jobs, by least squares."""
    jobs = [sample.jobs for sample in samples]
    values = [float(getattr(sample, name)) for sample in samples]
    return statistics.linear_regression(jobs, values).slope * JOBS


def growth(samples: Sequence[Sample], name: str) -> float:
    """Return the difference between the medians of the last and the first quarter."""
    quarter = max(1, len(samples) // 4)
    values = [getattr(sample, name) for sample in samples]
    return float(statistics.median(values[-quarter:]) - statistics.median(values[:quarter]))


def judge(samples: Sequence[Sample], missing: int) -> tuple[dict[str, float], list[str]]:
    """Return the figures and the failures."""
    settled = samples[len(samples) // 3 :]
    memory = {
        name: slope(settled, f"{name}_memory") / MEGABYTE for name in ("coordinator", "miner", "runner")
    }
    descriptors = {name: growth(settled, f"{name}_descriptors") for name in ("coordinator", "miner")}
    figures = {
        **{f"{name}_mb_per_10000_jobs": round(value, 3) for name, value in memory.items()},
        **{f"{name}_descriptors_growth": value for name, value in descriptors.items()},
        "database_bytes_per_job": round(slope(settled, "database") / JOBS),
    }
    jobs = settled[-1].jobs - settled[0].jobs
    allowed = MEGABYTES_PER_10000_JOBS * max(1.0, JOBS / jobs)
    failures = [
        f"the memory of the {name} grows by {value:.2f} MB per 10,000 jobs; {allowed:.2f} MB are allowed"
        for name, value in memory.items()
        if name != "runner" and value >= allowed
    ]
    failures += [
        f"the {name} has {value:g} descriptors more at the end"
        for name, value in descriptors.items()
        if value > DESCRIPTORS
    ]
    if missing:
        failures.append(f"{missing} jobs were not completed")
    return figures, failures


@contextmanager
def start_miner(folder: Path, url: str) -> Iterator[Running]:
    """Run a real miner in a process of its own."""
    data_dir = folder / "miner"
    command = [str(AGENT), "start", "--data-dir", str(data_dir), "--coordinator", url]
    with (folder / "miner.log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, text=True)
        try:
            wait_for(data_dir / "agent.json", process)
            yield Running(process, json.loads((data_dir / "agent.json").read_text()))
        finally:
            process.terminate()
            process.wait(60)


async def measure(soak: Soak, options: argparse.Namespace) -> dict[str, Any]:
    """Run the whole test and return its figures."""
    await soak.open()
    highest = await soak.highest_rate(PROBE_SECONDS)
    rate = options.rate or highest / 2
    await soak.steady(options.minutes * 60, rate)
    figures, failures = judge(soak.samples, await soak.finish())
    return {
        "highest_rate": round(highest, 1),
        "rate": round(rate, 1),
        "minutes": options.minutes,
        "jobs": soak.submitted,
        **figures,
        "load_average": os.getloadavg()[0],
        "failures": failures,
        "samples": [asdict(sample) for sample in soak.samples],
    }


def show(figures: dict[str, Any]) -> None:
    """Print a table."""
    print("seconds     jobs   coordinator MB   miner MB   runners MB   descriptors   database MB")
    samples = figures["samples"]
    for sample in samples[:: max(1, len(samples) // 20)]:
        print(
            f"{sample['seconds']:7.0f} {sample['jobs']:8} {sample['coordinator_memory'] / MEGABYTE:16.1f} "
            f"{sample['miner_memory'] / MEGABYTE:10.1f} {sample['runner_memory'] / MEGABYTE:12.1f} "
            f"{sample['coordinator_descriptors']:6} {sample['miner_descriptors']:6} {sample['database'] / MEGABYTE:13.1f}"
        )
    for name, value in figures.items():
        if name not in {"samples", "failures"}:
            print(f"{name:34} {value}")
    for failure in figures["failures"]:
        print(f"FAILED: {failure}")


def main() -> None:
    """Run the soak test, print its figures, and exit with 1 if it failed."""
    parser = argparse.ArgumentParser(description="Detect growth at half the highest rate.")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, help="jobs a second; half the highest rate if not given")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["PYTHONPATH"] = str(install_runner(folder / "packages"))
        os.environ.update(ENVIRONMENT)
        with coordinator(folder / "data", {}) as agent, start_miner(folder, agent.url) as miner:
            figures = uvloop.run(measure(Soak(agent, miner, folder / "data"), options))
        figures["disk_sync_ms"] = round(sync_milliseconds(folder), 3)
    if options.json:
        print(json.dumps(figures))
    else:
        show(figures)
    sys.exit(bool(figures["failures"]))


if __name__ == "__main__":
    main()
