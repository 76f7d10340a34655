"""The waiting jobs whose clients are to be notified."""

from __future__ import annotations

from sqlalchemy import Connection, select, text

from agent.coordinator.store.jobs import JobRecord, from_row
from agent.coordinator.store.schema.tables import jobs
from agent.coordinator.store.unfinished import in_state
from agent.core.jobs import JobState


def waiting_since(connection: Connection, created_before: float, limit: int) -> list[JobRecord]:
    """Return jobs submitted before `created_before` that still wait for a miner, and whose clients were not notified of that."""
    query = (
        select(jobs)
        .where(
            *in_state(connection, JobState.SUBMITTED),
            text("missing_files IS NULL AND notified_at IS NULL"),
            jobs.c.created_at < created_before,
        )
        .order_by(jobs.c.created_at)
        .limit(limit)
    )
    return [from_row(row) for row in connection.execute(query)]
