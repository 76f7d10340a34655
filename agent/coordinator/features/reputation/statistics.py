"""Statistics of the marketplace and of miners. Every change updates them, so reading them does not count jobs."""

from __future__ import annotations

from typing import Final

from agent.coordinator.features.reputation.rules import shown
from agent.coordinator.features.reputation.store import miner_stats
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.supply import offline_before
from agent.coordinator.store import counts, miners
from agent.core.errors import NotFound
from agent.core.jobs import JobState
from agent.core.values.quantities import format_money, format_time, from_units
from aitbc.answers.market import MarketStats
from aitbc.answers.miners import MinerStats

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
        total_volume=format_money(from_units(totals.paid)),
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
        total_earned=format_money(from_units(stats.earned)),
        active_since=format_time(record.registered_at),
        failed_runs=stats.failed,
        client_failures=stats.client_failed,
        refused_results=stats.refused,
    )


def _average(seconds: float, count: int) -> float:
    return round(seconds / count, SECONDS_DECIMALS) if count else 0.0
