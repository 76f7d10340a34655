"""What idle miners and streams cost the coordinator: its processor time and memory while nothing happens.

    .venv/bin/python benchmarks/idle.py [--miners 500] [--streams 2000] [--seconds 60] [--json]

Starts a real `aitbc-agent coordinator` with an empty data directory. Scripted miners (`measuring/miner.py`) register over WebSockets and
send heartbeats as real ones do, and clients open `/ws`. Both are in processes of their own. Then the coordinator's processor time is
read before and after `--seconds` without any job. At the end one job is submitted: every stream must see it end. The exit status is 1
if the coordinator used 5 % of a processor or more, or if a stream missed the job.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import structlog
import websockets
from measuring.connection import Connection
from measuring.miner import MODEL, SERVICE, Miner
from measuring.processes import coordinator, cpu_seconds

ENVIRONMENT = {
    "AITBC_COORDINATOR__OPEN_ENROLMENT": "true",
    # All streams are one account's.
    "AITBC_COORDINATOR__STREAMS__CONNECTIONS_PER_ACCOUNT": "4096",
    "AITBC_COORDINATOR__CONNECTIONS__PER_ACCOUNT": "4096",
    # All miners are at one address.
    "AITBC_COORDINATOR__RATE_LIMITS__ENABLED": "false",
    "AITBC_LOG__LEVEL": "warning",
}
JOB = {
    "type": SERVICE,
    "parameters": {"model": MODEL, "prompt": "Name the capital of France.", "max_tokens": 32},
}
TOGETHER = 50
"""Connections that are opened at the same time."""
LIMIT_SECONDS = 300.0
SETTLING_SECONDS = 10.0
LIMIT = 0.05
"""Share of a processor."""


def mine(url: str, count: int) -> None:
    """Run so many miners, each with one slot."""

    async def run() -> None:
        sys.stdout = sys.stderr  # a miner prints a line for each result
        async with asyncio.TaskGroup() as group:
            structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
            for number in range(count):
                group.create_task(Miner(url, 1).run())
                if number % TOGETHER == TOGETHER - 1:
                    await asyncio.sleep(1)  # a crowd that arrives at once is another measurement

    asyncio.run(run())


def watch(url: str, key: str, count: int, opened: Any, seen: Any) -> None:
    """Open so many streams, and report how many saw a job complete."""

    async def run() -> None:
        gate = asyncio.Semaphore(TOGETHER)
        address = f"{url.replace('http', 'ws', 1)}/ws"

        async def one() -> bool:
            async with gate:
                stream = await websockets.connect(
                    address, additional_headers={"Authorization": f"Bearer {key}"}, open_timeout=LIMIT_SECONDS
                )
            opened.release()
            async for message in stream:
                if '"completed"' in str(message):
                    await stream.close()
                    return True
            return False

        seen.put(sum(await asyncio.gather(*(one() for _ in range(count)))))

    asyncio.run(run())


async def _miners(url: str, key: str) -> int:
    connection = await Connection.open(url, key)
    found = await connection.json("GET", "/v1/admin/overview")
    connection.close()
    return sum(miner["online"] for miner in found["miners"])


async def _submit(url: str, key: str) -> None:
    connection = await Connection.open(url, key)
    await connection.json("POST", "/v1/jobs", JOB)
    connection.close()


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return all figures."""
    context = multiprocessing.get_context("spawn")
    opened, seen = context.Semaphore(0), context.Queue()
    with coordinator(folder / "data", ENVIRONMENT) as agent:
        process = psutil.Process(agent.process.pid)
        client, admin = agent.content["client_key"], agent.content["admin_key"]
        empty = process.memory_info().rss
        helpers = [
            context.Process(target=mine, args=(agent.url, options.miners), daemon=True),
            context.Process(
                target=watch, args=(agent.url, client, options.streams, opened, seen), daemon=True
            ),
        ]
        started = cpu_seconds(process.pid)
        for helper in helpers:
            helper.start()
        for _ in range(options.streams):
            assert opened.acquire(timeout=LIMIT_SECONDS), "the streams were not opened in time"
        deadline = time.monotonic() + LIMIT_SECONDS
        while asyncio.run(_miners(agent.url, admin)) < options.miners:
            assert time.monotonic() < deadline, "the miners did not register in time"
            time.sleep(1)
        time.sleep(SETTLING_SECONDS)
        connecting = cpu_seconds(process.pid) - started
        before, began = cpu_seconds(process.pid), time.monotonic()
        time.sleep(options.seconds)
        used = (cpu_seconds(process.pid) - before) / (time.monotonic() - began)
        memory = process.memory_info().rss
        asyncio.run(_submit(agent.url, client))
        reached = seen.get(timeout=LIMIT_SECONDS)
        for helper in helpers:
            helper.kill()
            helper.join()
    return {
        "miners": options.miners,
        "streams": options.streams,
        "processor_share": round(used, 4),
        "connecting_ms_each": round(1000 * connecting / max(1, options.miners + options.streams), 2),
        "memory_mib": round(memory / 2**20, 1),
        "kib_per_connection": round((memory - empty) / 1024 / max(1, options.miners + options.streams), 1),
        "streams_that_saw_the_job": reached,
    }


def main() -> None:
    """Measure and print the figures; with --json one JSON object."""
    parser = argparse.ArgumentParser(description="Measure what idle connections cost.")
    parser.add_argument("--miners", type=int, default=500)
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options)
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:26} {value}")
    if figures["processor_share"] >= LIMIT or figures["streams_that_saw_the_job"] < options.streams:
        sys.exit("Idle connections cost too much, or a stream missed the job.")


if __name__ == "__main__":
    main()
