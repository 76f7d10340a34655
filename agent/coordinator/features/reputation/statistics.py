"""Statistics of the marketplace and of miners, and what miners have earned by day. Every change updates them, so reading them does not count jobs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from agent.coordinator.features.reputation.rules import shown
from agent.coordinator.features.reputation.store import miner_stats
from agent.coordinator.features.reputation.store.miner_stats import DAY_SECONDS
from agent.coordinator.operations.accounts.miner_money import where_money_is
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.miners.ownership import of_caller
from agent.coordinator.operations.supply import offline_before
from agent.coordinator.store import counts, miners
from agent.core.errors import NotFound
from agent.core.jobs import JobState
from agent.core.values.quantities import format_time, format_units
from aitbc.answers.market import MarketStats
from aitbc.answers.miners import DayEarnings, MinerEarnings, MinerStats

SECONDS_DECIMALS: Final = 3
SHARE_DECIMALS: Final = 4


def market(connection: Connection, context: Context) -> MarketStats:
    """Return the numbers of jobs by state, the average duration, the amount paid, and the number of miners online."""
    jobs = counts.by_state(connection)
    totals = miner_stats.totals(connection)
    return MarketStats(
        total_jobs=sum(jobs.values()),
        active_jobs=jobs.get(JobState.SUBMITTED, 0) + jobs.get(JobState.RUNNING, 0),
        completed_jobs=jobs.get(JobState.COMPLETED, 0),
        failed_jobs=jobs.get(JobState.FAILED, 0),
        average_completion_time=_average(totals.seconds, totals.completed),
        total_volume=format_units(totals.paid),
        active_miners=miners.count_active(connection, offline_before(context)),
    )


def miner(connection: Connection, miner_id: str, now: float) -> MinerStats:
    """Return a miner's record and reputation. Raises `NotFound`."""
    # The statistics of a removed miner remain, since receipts still name it.
    record = miners.find_former(connection, miner_id)
    if record is None:
        raise NotFound(f"There is no miner {miner_id}.", {"miner_id": miner_id})
    stats = miner_stats.find(connection, miner_id)
    total = stats.completed + stats.failed
    return MinerStats(
        miner_id=miner_id,
        reputation=shown(stats.evidence, now),
        total_jobs=total,
        # A miner without jobs has not failed any.
        success_rate=round(stats.completed / total, SHARE_DECIMALS) if total else 1.0,
        average_completion_time=_average(stats.seconds, stats.completed),
        total_earned=format_units(stats.earned),
        active_since=format_time(record.registered_at),
        failed_runs=stats.failed,
        client_failures=stats.client_failed,
        refused_results=stats.refused,
    )


def _average(seconds: float, count: int) -> float:
    return round(seconds / count, SECONDS_DECIMALS) if count else 0.0


def by_day(
    connection: Connection, context: Context, caller: Caller, miner_id: str, days: int
) -> MinerEarnings:
    """Return what one of the caller's miners earned on each of the last days, including today. Raises `NotFound`."""
    of_caller(connection, caller, miner_id, removed=True)
    today = int(context.clock() // DAY_SECONDS)
    first = today - days + 1
    earned = miner_stats.earnings(connection, [miner_id], first)[miner_id]
    # Days without earnings are part of the series too.
    shown_days = [(day, earned.get(day, miner_stats.DailyEarnings())) for day in range(first, today + 1)]
    return MinerEarnings(
        miner_id=miner_id,
        days=[
            DayEarnings(date=_date(day), amount=format_units(of_day.earned), jobs=of_day.jobs)
            for day, of_day in shown_days
        ],
        total=format_units(sum(of_day.earned for _, of_day in shown_days)),
        **where_money_is(connection, context, miner_id),
    )


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY_SECONDS, UTC).date().isoformat()
