"""Effect of a growing database on the coordinator's speed: lists, statistics, submissions and claims at 1,000 and 1,000,000 jobs.

    .venv/bin/python benchmarks/growth.py [--sizes 1000 1000000] [--repeat 50] [--plot docs/images/growth.svg] [--json]

For each size, fills a real database in bulk with a history of so many jobs (`measuring/history.py`), starts a real
`aitbc-agent coordinator` on it, and repeats each request on one connection, one at a time. The figure is the tenth percentile, since
slower requests reflect the other load of the machine. Then the queue is filled with a fifth as many jobs, at least 1,000, and the
requests that involve the queue are measured again. Claims are timed in the process of the benchmark, as the dispatcher makes them,
and rolled back. The sizes are measured one after the other on the same machine, so that their ratio is meaningful. The exit status is
1 if a request takes more than twice as long in the largest database as in the smallest and the difference is at least half a
millisecond.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cycle
import uvloop
from measuring.connection import Connection as HttpConnection
from measuring.history import History
from measuring.miner import capabilities
from measuring.processes import Running, coordinator

from agent.coordinator.dispatch import claims as dispatch
from agent.coordinator.port import candidate_of
from agent.coordinator.store.database import Connection
from agent.coordinator.store.schema.upgrade import prepare
from agent.coordinator.store.sqlite.database import SQLiteDatabase
from agent.settings.coordinator import CoordinatorSettings

LIMIT = 2.0
NOISE_MILLISECONDS = 0.5
WARM_UP = 5
LEAST_QUEUE = 1000
SLOTS = 8
Figures = dict[str, float]

CLIENT_CALLS = {
    "list": "/v1/jobs",
    "list, status": "/v1/jobs?status=completed",
    "list, type": "/v1/jobs?type=llm-inference",
    "list, both": "/v1/jobs?status=completed&type=llm-inference",
    "list, no job of the type": "/v1/jobs?type=blender-rendering",
    "list, none of the state and type": "/v1/jobs?status=failed&type=blender-rendering",
    "list, offset 200": "/v1/jobs?offset=200",
    "list, name": "/v1/jobs?name={name}",
    "list, label": "/v1/jobs?label={label}",
    "list, label and status": "/v1/jobs?label={label}&status=completed",
    "list, miner": "/v1/jobs?miner_id={miner}",
    "job": "/v1/jobs/{job}",
    "results": "/v1/jobs/{job}/results",
    "receipt": "/v1/receipts/{job}",
    "wallet": "/v1/wallet",
    "transactions": "/v1/wallet/transactions",
    "marketplace statistics": "/v1/marketplace/stats",
    "miner statistics": "/v1/miners/{miner}/stats",
}
ADMIN_CALLS = {
    "admin: list": "/v1/jobs",
    "admin: list, status": "/v1/jobs?status=completed",
    "admin: list, running": "/v1/jobs?status=running",
    "admin: list, type": "/v1/jobs?type=llm-inference",
    "admin: list, no job of the type": "/v1/jobs?type=blender-rendering",
    "admin: list, both": "/v1/jobs?status=completed&type=llm-inference",
    "admin: transactions": "/v1/wallet/transactions",
    "admin: overview": "/v1/admin/overview",
    "admin: history, day": "/v1/admin/history?metric=jobs&period=day",
    "admin: history, year": "/v1/admin/history?metric=money&period=year",
}
QUEUE_CALLS = {"long queue: list, status": "/v1/jobs?status=submitted", "long queue: list": "/v1/jobs"}


def undisturbed(times: list[float]) -> float:
    """Return the tenth percentile."""
    return statistics.quantiles(times, n=10, method="inclusive")[0]


async def timed(connection: HttpConnection, method: str, path: str, repeat: int, body: bytes = b"") -> float:
    """Return the duration of a request in milliseconds. Raises `ValueError` if it fails."""
    times = []
    for number in range(WARM_UP + repeat):
        before = time.perf_counter()
        status, answer = await connection.request(method, path, body)
        if number >= WARM_UP:
            times.append((time.perf_counter() - before) * 1000)
        if status >= 300:
            raise ValueError(f"{method} {path} was answered {status}: {answer.decode()}")
    return undisturbed(times)


async def calls(agent: Running, paths: dict[str, str], key: str, repeat: int, **names: str) -> Figures:
    """Return the figures of GET requests, without those that this coordinator does not support."""
    found = {}
    for name, path in paths.items():
        connection = await HttpConnection.open(agent.url, agent.content[key])
        address = path.format(**names)
        if (await connection.request("GET", address))[0] != 404:
            found[name] = await timed(connection, "GET", address, repeat)
        connection.close()
    return found


async def submissions(agent: Running, repeat: int) -> float:
    """Return the duration in milliseconds of a submission that no miner claims."""
    connection = await HttpConnection.open(agent.url, agent.content["client_key"])
    milliseconds = await timed(connection, "POST", "/v1/jobs", repeat, cycle.SUBMISSION)
    connection.close()
    return milliseconds


async def cycles(agent: Running, repeat: int) -> Figures:
    """Measure the steps of complete cycles, one after the other, with a miner on its WebSocket."""
    connection = await HttpConnection.open(agent.url, agent.content["client_key"])
    miner = await cycle.Miner.start(agent.url, SLOTS)
    try:
        done = await cycle.many_cycles([connection], miner, WARM_UP + repeat)
    finally:
        await miner.stop()
    steps = [one.milliseconds() for one in done[WARM_UP:]]
    return {f"cycle: {name}": undisturbed([step[name] for step in steps]) for name in steps[0]}


class Undone(Exception):
    """Rolls the claim back and passes on its duration."""


async def claims(path: Path, repeat: int) -> float:
    """Return the duration in milliseconds of a claim for one miner with free slots, without its commit."""
    candidate = candidate_of("miner_measured", 1, SLOTS, capabilities(SLOTS))

    def claim(connection: Connection) -> None:
        before = time.perf_counter()
        given, _ = dispatch.claim(connection, [candidate], time.time(), CoordinatorSettings())
        took = (time.perf_counter() - before) * 1000
        if not given:
            sys.exit("A claim found no job although the queue is not empty.")
        raise Undone(took)

    database = SQLiteDatabase(path)
    database.open(prepare)
    times: list[float] = []
    for _ in range(WARM_UP + repeat):
        try:
            await database.write(claim)
        except Undone as undone:
            times.append(undone.args[0])
    database.close()
    return undisturbed(times[WARM_UP:])


def measure(folder: Path, size: int, repeat: int) -> Figures:
    """Return all figures of a database with so many jobs."""
    data = folder / "data"
    path = data / "coordinator" / "coordinator.db"
    with coordinator(data, cycle.ENVIRONMENT):
        pass  # creates the schema, the keys and the account
    history = History(path, one(path, "SELECT account_id FROM accounts"))
    took(f"{size} jobs written", lambda: history.write_past(size))
    figures = {"claim": asyncio.run(claims(path, repeat))}
    names = {
        "job": one(path, "SELECT job_id FROM jobs WHERE state = 'completed' AND account_id = ?", history.own),
        "miner": one(path, "SELECT miner_id FROM miners"),
        "name": one(path, "SELECT name FROM jobs WHERE account_id = ?", history.own),
        "label": one(path, "SELECT key || ':' || value FROM job_labels WHERE account_id = ?", history.own),
    }

    async def served(agent: Running) -> None:
        figures.update(await calls(agent, CLIENT_CALLS, "client_key", repeat, **names))
        figures.update(await calls(agent, ADMIN_CALLS, "admin_key", repeat))
        figures["submission"] = await submissions(agent, repeat)
        figures.update(await cycles(agent, repeat))

    with coordinator(data, cycle.ENVIRONMENT) as agent:
        uvloop.run(served(agent))
    waiting = max(LEAST_QUEUE, size // 5)
    took(f"{waiting} jobs put into the queue", lambda: history.write_queue(waiting))
    figures["long queue: claim"] = asyncio.run(claims(path, repeat))

    async def busy(agent: Running) -> None:
        figures.update(await calls(agent, QUEUE_CALLS, "admin_key", repeat))
        figures["long queue: submission"] = await submissions(agent, repeat)

    with coordinator(data, cycle.ENVIRONMENT) as agent:
        uvloop.run(busy(agent))
    return figures


def one(path: Path, sql: str, *values: str) -> str:
    """Return the first value of a query's result."""
    with sqlite3.connect(path) as database:
        value: str = database.execute(f"{sql} LIMIT 1", values).fetchone()[0]
        return value


def took(what: str, work: Callable[[], None]) -> None:
    """Print the duration of a step to standard error."""
    before = time.monotonic()
    work()
    print(f"{what} in {time.monotonic() - before:.0f} s", file=sys.stderr)


def plot(measured: dict[int, Figures], path: Path) -> None:
    """Plot the duration of every request in milliseconds, in the smallest and in the largest database."""
    import matplotlib as mpl  # noqa: PLC0415 - takes a second, and only a plot needs it

    mpl.use("svg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after its backend is chosen

    names = list(next(iter(measured.values())))
    figure, axes = plt.subplots(figsize=(8, 0.27 * len(names) + 1.2), layout="constrained")
    width = 0.8 / len(measured)
    for number, (size, figures) in enumerate(measured.items()):
        positions = [row + (number - (len(measured) - 1) / 2) * width for row in range(len(names))]
        axes.barh(positions, [figures[name] for name in names], width, label=f"{size:,} jobs")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds")
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    mpl.rcParams["svg.hashsalt"] = "growth"
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure and print a table; with --json one JSON object."""
    parser = argparse.ArgumentParser(description="Measure what grows with the number of jobs.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 1_000_000])
    parser.add_argument("--repeat", type=int, default=50)
    parser.add_argument("--plot", type=Path, help="file for a plot")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    measured = {}
    for size in sorted(options.sizes):
        with tempfile.TemporaryDirectory() as name:
            measured[size] = measure(Path(name), size, options.repeat)
    first, last = measured[min(measured)], measured[max(measured)]
    ratios = {name: last[name] / first[name] for name in first}
    grown = [
        name for name in ratios if ratios[name] > LIMIT and last[name] - first[name] > NOISE_MILLISECONDS
    ]
    if options.plot is not None:
        plot(measured, options.plot)
    if options.json:
        print(json.dumps({"milliseconds": measured, "ratios": ratios, "grown": grown}))
    else:
        print(f"{'milliseconds':28}" + "".join(f"{size:>12,}" for size in measured) + "   ratio")
        for name, ratio in ratios.items():
            row = "".join(f"{figures[name]:12.2f}" for figures in measured.values())
            print(f"{name:28}{row}{ratio:8.2f}{'  GROWS' if name in grown else ''}")
    sys.exit(1 if grown else 0)


if __name__ == "__main__":
    main()
