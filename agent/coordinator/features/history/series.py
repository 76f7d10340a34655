"""The history of jobs, money and miners, for operators' charts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from agent.coordinator.consequences import Change
from agent.coordinator.features.history import store
from agent.coordinator.hooks import NewJob
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.supply import offline_before
from agent.coordinator.store import counts, miners
from agent.coordinator.store.ledger import TransactionKind
from agent.core.jobs import JobState
from agent.core.market.ledger import JobSettlement
from agent.core.values.quantities import format_time, format_units
from aitbc.answers.history import History, HistoryPoint, Metric, Period

Value = int | float | str | None

_PERIODS: Final = {  # seconds of the period, and of an interval
    Period.HOUR: (3600, 300),
    Period.DAY: (86_400, 1800),
    Period.WEEK: (7 * 86_400, 3 * 3600),
    Period.MONTH: (30 * 86_400, 12 * 3600),
    Period.YEAR: (364 * 86_400, 7 * 86_400),
}


def _count(value: Any) -> int:
    return int(value or 0)


def _average(value: Any) -> float | None:
    return None if value is None else round(float(value), 1)


def _money(value: Any) -> str:
    return format_units(int(value or 0))


_NAMES: Final[dict[Metric, tuple[tuple[str, ...], Callable[[Any], Value]]]] = {
    Metric.JOBS: (("submitted", "completed", "failed", "cancelled"), _count),
    Metric.QUEUE: (("waiting", "running"), _average),
    Metric.MONEY: (("credited", "debited", "paid", "fees"), _money),
    Metric.MINERS: (("online",), _average),
}


async def series(context: Context, metric: Metric, period: Period) -> History:
    """Return the figures of each interval of the period until now, oldest first. Empty intervals count 0."""
    seconds, interval = _PERIODS[period]
    names, formatted = _NAMES[metric]
    # Intervals begin at fixed times, so that points do not move from one request to the next.
    last = int(context.clock()) // interval * interval
    first = last - seconds + interval
    rows = await context.database.read(store.series, names, since=first, interval=interval)
    rows_by_start = {int(row[0]): row[1:] for row in rows}
    nothing = (None,) * len(names)
    points = [
        HistoryPoint(
            time=format_time(start),
            figures={
                name: formatted(value)
                for name, value in zip(names, rows_by_start.get(start, nothing), strict=True)
            },
        )
        for start in range(first, last + 1, interval)
    ]
    return History(metric=metric, period=period, interval_seconds=interval, points=points)


async def sample(context: Context) -> None:
    """Store the present length of the queue and the number of miners that are online."""
    await context.database.write(_sample, context.clock(), offline_before(context))


def _sample(connection: Connection, now: float, seen_after: float) -> None:
    jobs = counts.by_state(connection)
    store.sample(
        connection,
        now,
        waiting=jobs.get(JobState.SUBMITTED, 0),
        running=jobs.get(JobState.RUNNING, 0),
        online=miners.count_active(connection, seen_after),
    )


def jobs_submitted(connection: Connection, jobs: Sequence[NewJob], now: float) -> None:
    """Count new jobs."""
    store.add(connection, now, submitted=len(jobs))


def jobs_changed(
    connection: Connection, changes: Sequence[Change], settlements: Mapping[str, JobSettlement], now: float
) -> None:
    """Count jobs that have ended, and what was paid for them."""
    figures = Counter(item.life.state.value for item in changes if item.finished)
    for settlement in settlements.values():
        # In one row with the jobs, so that a transaction changes one row of the history at most.
        figures.update(paid=settlement.paid, fees=settlement.fee)
    store.add(connection, now, **figures)


def money_booked(connection: Connection, kind: TransactionKind, amount: int, now: float) -> None:
    """Count an administrator's credit or debit."""
    store.add(connection, now, **{f"{kind.value}ed": amount})


async def delete_old(context: Context) -> None:
    """Delete figures that no chart shows any more."""
    oldest = context.clock() - store.SHOWN_SECONDS
    while await context.database.write(store.prune, oldest) == store.PRUNED_AT_ONCE:
        pass
