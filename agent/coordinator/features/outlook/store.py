"""Reads the paid work of machines, and keeps the hours in which they were online."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import BigInteger, Connection, cast, delete, func, select, text

from agent.coordinator.features.outlook.estimate import OnlineDay, PaidWork
from agent.coordinator.features.outlook.tables import online_days
from agent.coordinator.store import records
from agent.coordinator.store.ledger import Status, TransactionKind
from agent.coordinator.store.schema.tables import jobs, transactions
from agent.core.values.quantities import make_id

DAY_SECONDS: Final = 86_400
STORED_DAYS: Final = 91
"""How long days are stored: as many as the settings can ask for."""
SUBMITTED_DAYS: Final = 7
"""How long before its payment a job may have been submitted to count."""

_ADD: Final = text(
    "INSERT INTO online_days (miner_id, day, seconds) SELECT miner_id, :day, :seconds FROM miners "
    "WHERE seen_at >= :seen_after AND paused IS NULL AND removed_at IS NULL AND excluded_at IS NULL "
    "ON CONFLICT (miner_id, day) DO UPDATE SET seconds = online_days.seconds + excluded.seconds"
)


def add_online(connection: Connection, now: float, seconds: float, seen_after: float) -> None:
    """Add the seconds to the day of each machine that was seen since `seen_after` and accepts jobs, and delete days that nobody asks for."""
    day = int(now // DAY_SECONDS)
    connection.execute(_ADD, {"day": day, "seconds": seconds, "seen_after": seen_after})
    connection.execute(delete(online_days).where(online_days.c.day < day - STORED_DAYS))


def online(connection: Connection, miner_ids: Sequence[str], first: int) -> list[OnlineDay]:
    """Return how long these machines were online on each day since `first`."""
    query = select(*online_days.c).where(online_days.c.miner_id.in_(miner_ids), online_days.c.day >= first)
    return records.find_all(connection, OnlineDay, query)


def paid_models(connection: Connection, since: float, limit: int) -> dict[tuple[str, str], tuple[int, int]]:
    """Return how many jobs of each service and model were paid since then, and what their miners earned, best paid first."""
    oldest = make_id("tx", max(0, since - SUBMITTED_DAYS * DAY_SECONDS), bytes(10))
    earned = func.sum(transactions.c.paid - transactions.c.fee)
    query = (
        select(jobs.c.service, jobs.c.model, func.count(), earned)
        .join(jobs, jobs.c.job_id == transactions.c.job_id)
        .where(
            transactions.c.tx_id >= oldest,
            transactions.c.kind == TransactionKind.PAYMENT,
            transactions.c.status == Status.SETTLED,
            transactions.c.paid > 0,
            transactions.c.settled_at >= since,
            jobs.c.model.is_not(None),
        )
        .group_by(jobs.c.service, jobs.c.model)
        .order_by(earned.desc())
        .limit(limit)
    )
    return {(row[0], row[1]): (int(row[2]), int(row[3])) for row in connection.execute(query)}


def waiting_models(connection: Connection, limit: int) -> dict[tuple[str, str], tuple[int, float]]:
    """Return how many jobs of each service and model wait for a miner, and since when the first of them does."""
    query = (
        select(jobs.c.service, jobs.c.model, func.count(), func.min(jobs.c.created_at))
        .where(text("state = 'submitted' AND missing_files IS NULL"), jobs.c.model.is_not(None))
        .group_by(jobs.c.service, jobs.c.model)
        .order_by(func.count().desc())
        .limit(limit)
    )
    return {(row[0], row[1]): (int(row[2]), float(row[3])) for row in connection.execute(query)}


def paid_work(connection: Connection, miner_ids: Sequence[str], first: int) -> list[PaidWork]:
    """Return what these machines were paid for since the day `first`, by day and service, after the operator's fee."""
    # Of whole numbers, whose division the databases agree about.
    day = (cast(transactions.c.settled_at, BigInteger) // DAY_SECONDS).label("day")
    # Ids sort by time, and the index has them. A job may have been submitted long before it was paid.
    oldest = make_id("tx", max(0, first - SUBMITTED_DAYS) * DAY_SECONDS, bytes(10))
    query = (
        select(
            transactions.c.miner_id,
            day,
            jobs.c.service,
            func.count(),
            func.sum(transactions.c.paid - transactions.c.fee),
        )
        .join(jobs, jobs.c.job_id == transactions.c.job_id)
        .where(
            transactions.c.miner_id.in_(miner_ids),
            transactions.c.tx_id >= oldest,
            transactions.c.kind == TransactionKind.PAYMENT,
            transactions.c.status == Status.SETTLED,
            transactions.c.paid > 0,
            transactions.c.settled_at >= first * DAY_SECONDS,
        )
        .group_by(transactions.c.miner_id, day, jobs.c.service)
    )
    return [
        PaidWork(miner_id, int(day), service, int(number), int(earned))
        for miner_id, day, service, number, earned in connection.execute(query)
    ]
