"""What changes of jobs count for the statistics and reputations of miners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.coordinator.consequences import Change
from agent.coordinator.features.reputation.rules import judge, shown
from agent.coordinator.features.reputation.store import miner_stats
from agent.coordinator.features.reputation.store.miner_stats import MinerStatistics, Work
from agent.coordinator.hooks import TrackRecord
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store.queue import restrictions_of
from agent.coordinator.store.receipts import CompletedRun
from agent.core.jobs import JobState, Outcome, ResultRefused, RunEnded
from agent.core.market.ledger import JobSettlement


def jobs_changed(
    connection: Connection, changes: Sequence[Change], settlements: Mapping[str, JobSettlement], now: float
) -> None:
    """Update the statistics of the miners that the changes count for or against, or pay."""
    works = [
        work for item in changes if (work := work_of(item, settlements.get(item.life.job_id))) is not None
    ]
    if works:
        miner_stats.add(connection, works, now)


def track_records(
    connection: Connection, now: float, miner_ids: Sequence[str] | None
) -> dict[str, TrackRecord]:
    """Return the track records of these miners, or with None of all that have worked."""
    if miner_ids is None:
        stats_by_miner = miner_stats.all_stats(connection)
    else:
        stats_by_miner = {miner_id: miner_stats.find(connection, miner_id) for miner_id in miner_ids}
    return {
        miner_id: TrackRecord(
            shown(stats.evidence, now), stats.completed, stats.failed, stats.refused, stats.earned
        )
        for miner_id, stats in stats_by_miner.items()
    }


async def fold(context: Context) -> None:
    """Move recent work of miners into their statistics."""
    if await context.database.read(miner_stats.anything_recent):
        await context.database.write(miner_stats.fold)


def work_of(item: Change, settlement: JobSettlement | None) -> Work | None:
    """Return what the change adds to a miner's statistics, or None."""
    verdict = judge(item.before.life, item.life, item.effects)
    paid = settlement.paid if settlement else 0
    miner_id = verdict.miner_id if verdict else item.miner_id
    caused = any(isinstance(effect, RunEnded) and effect.outcome is Outcome.FAILED for effect in item.effects)
    if miner_id is None or (verdict is None and not paid and not caused):
        return None
    refused = any(isinstance(effect, ResultRefused) for effect in item.effects)
    completed = item.life.state is JobState.COMPLETED
    started, finished = item.life.started_at, item.life.finished_at
    stats = MinerStatistics(
        completed=int(completed),
        failed=int(verdict is not None and verdict.failed),
        client_failed=int(caused),
        refused=int(refused),
        seconds=finished - started if completed and started is not None and finished is not None else 0.0,
        paid=paid,
        earned=paid - settlement.fee if settlement else 0,
    )
    success = verdict.success if verdict else None
    return Work(miner_id, item.before.account_id, stats, success, run=_run_of(item) if completed else None)


def _run_of(item: Change) -> CompletedRun | None:
    """Return the completed run, None for an audit, since comparing takes another time than the work."""
    record, lease, finished = item.before, item.before.life.lease, item.life.finished_at
    if lease is None or finished is None or restrictions_of(record).audit:
        return None
    return CompletedRun(record.service, record.model or "", finished - lease.assigned_at)
