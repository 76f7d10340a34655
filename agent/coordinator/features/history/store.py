"""What happened in each five minutes: jobs, money, and samples of the queue and of the miners.

A row is updated in the transaction that it counts, so that the history agrees with jobs and ledger after every crash. Its size
grows with time, not with the number of jobs.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from sqlalchemy import Connection, Row, Table, delete, func, select, text, tuple_

from agent.coordinator.features.history.tables import gpu_samples, history
from agent.coordinator.store import locks
from agent.coordinator.store.prepared import Prepared

BUCKET_SECONDS: Final = 300
COUNTED: Final = ("submitted", "completed", "failed", "cancelled", "credited", "debited", "paid", "fees")
SAMPLED: Final = ("waiting", "running", "online")
SHOWN_SECONDS: Final = 366 * 86_400
"""How old the oldest figures of a chart are, at most."""
PRUNED_AT_ONCE: Final = 1000

_sample = Prepared(
    text(
        "INSERT INTO history (start, part, waiting, running, online) VALUES (:start, 0, :waiting, :running, :online) "
        "ON CONFLICT (start, part) DO UPDATE SET waiting = excluded.waiting, running = excluded.running, online = excluded.online"
    )
)
# Another replica may have stored one: a miner that reconnects may come to any.
_add_gpus = Prepared(
    text(
        "INSERT INTO gpu_samples (miner_id, start, gpus) VALUES (:miner_id, :start, :gpus) "
        "ON CONFLICT (miner_id, start) DO NOTHING"
    )
)


@cache
def _addition(names: tuple[str, ...]) -> Prepared:
    """Return the statement that adds to these columns."""
    added = ", ".join(f"{name} = history.{name} + excluded.{name}" for name in names)
    columns, values = ", ".join(names), ", ".join(f":{name}" for name in names)
    return Prepared(
        text(
            f"INSERT INTO history (start, part, {columns}) VALUES (:start, :part, {values}) "  # noqa: S608 - names of columns
            f"ON CONFLICT (start, part) DO UPDATE SET {added}"
        )
    )


def add(connection: Connection, now: float, **amounts: int) -> None:
    """Add to the current five minutes: numbers of jobs, and money in units of 1e-8. The names are those of `COUNTED`."""
    # Zeros would create rows in which nothing happened.
    effective = {name: amounts[name] for name in COUNTED if amounts.get(name)}
    if effective:
        _addition(tuple(effective)).run(
            connection, {"start": _start(now), "part": locks.lane(connection), **effective}
        )


def sample(connection: Connection, now: float, *, waiting: int, running: int, online: int) -> None:
    """Store the present numbers of waiting and running jobs and of miners that are online."""
    values = {"waiting": waiting, "running": running, "online": online}
    _sample.run(connection, {"start": _start(now), **values})


def series(
    connection: Connection, names: tuple[str, ...], *, since: int, interval: int
) -> list[Row[*tuple[int, ...]]]:
    """Return rows of an interval's start and the named columns, from `since` on, oldest first, without empty intervals.

    Counts are summed. Samples are averaged; they are None for an interval without any. `interval` is a multiple of the five minutes.
    """
    start = (history.c.start - history.c.start % interval).label("interval_start")
    columns = [func.sum(history.c[name]) if name in COUNTED else func.avg(history.c[name]) for name in names]
    query = select(start, *columns).where(history.c.start >= since).group_by(start).order_by(start)
    return list(connection.execute(query).all())


def prune(connection: Connection, oldest: float) -> int:
    """Delete the oldest rows that begin before a time, at most `PRUNED_AT_ONCE`. Return how many."""
    return _prune(connection, history, oldest)


def add_gpus(connection: Connection, miner_id: str, start: int, gpus: str) -> None:
    """Store what a miner reports about its GPUs, as JSON, unless the interval that begins at `start` has a sample."""
    _add_gpus.run(connection, {"miner_id": miner_id, "start": start, "gpus": gpus})


def gpus_since(connection: Connection, miner_id: str, oldest: float) -> list[Row[int, str]]:
    """Return when the intervals of a miner's samples began, and the samples, oldest first."""
    samples = gpu_samples.c
    query = select(samples.start, samples.gpus).where(samples.miner_id == miner_id, samples.start >= oldest)
    return list(connection.execute(query.order_by(samples.start)).all())


def prune_gpus(connection: Connection, oldest: float) -> int:
    """Delete the oldest samples of GPUs as `prune` does."""
    return _prune(connection, gpu_samples, oldest)


def _prune(connection: Connection, table: Table, oldest: float) -> int:
    # Both tables have an index that begins with `start`.
    key = (table.c.start, *(column for column in table.primary_key if column.name != "start"))
    expired = select(*key).where(table.c.start < oldest).order_by(*key)
    rows = connection.execute(expired.limit(PRUNED_AT_ONCE)).all()
    if rows:
        connection.execute(delete(table).where(tuple_(*key) <= rows[-1]))
    return len(rows)


def _start(now: float) -> int:
    return int(now) // BUCKET_SECONDS * BUCKET_SECONDS
