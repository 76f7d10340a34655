"""The waiting jobs whose clients are to be notified."""

from __future__ import annotations

from sqlalchemy import Connection, select, text, update

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


def mark_notified(connection: Connection, job_id: str, now: float) -> bool:
    """Record that the client was notified that the job waits. Return False if that was recorded before."""
    first = update(jobs).where(jobs.c.job_id == job_id, jobs.c.notified_at.is_(None))
    return connection.execute(first.values(notified_at=now)).rowcount == 1
