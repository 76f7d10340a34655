"""Moves what changed in the last seconds into the lasting numbers, as the coordinator does after a while (`store.recent`)."""

from __future__ import annotations

from sqlalchemy import Connection, text

from agent.coordinator.features.reputation.store import miner_stats
from agent.coordinator.operations.context import Context
from agent.coordinator.store import counts


async def fold_everything(context: Context) -> None:
    """Fold until nothing is left. The coordinator may be doing the same at that moment, and one of both waits for no other."""
    while await context.database.read(_anything_recent):
        await context.database.write(counts.fold, everything=True)
        await context.database.write(miner_stats.fold)


def _anything_recent(connection: Connection) -> bool:
    rows = "SELECT part FROM recent_job_counts UNION ALL SELECT part FROM recent_work LIMIT 1"
    return connection.execute(text(rows)).first() is not None
