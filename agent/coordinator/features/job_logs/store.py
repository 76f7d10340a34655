"""The logs of jobs: lines that their runs wrote, in parts as they arrived."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import orjson
from sqlalchemy import Connection, delete, func, insert, select

from agent.coordinator.features.job_logs.tables import job_logs
from agent.core.job_log import Line

PRUNED_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class StoredLog:
    """The lines of one run, or a part of them. `attempt` counts the job's runs from 1."""

    attempt: int
    lines: Sequence[Line]
    truncated: bool


def size_of(connection: Connection, job_id: str, fence: int) -> int:
    """Return the size of a run's log in bytes."""
    query = select(func.coalesce(func.sum(job_logs.c.size), 0))
    run = query.where(job_logs.c.job_id == job_id, job_logs.c.fence == fence)
    return int(connection.execute(run).scalar_one())


def append(connection: Connection, job_id: str, fence: int, log: StoredLog, now: float) -> None:
    """Add a part to the log of a run."""
    newest = select(func.coalesce(func.max(job_logs.c.part), 0))
    part = connection.execute(newest.where(job_logs.c.job_id == job_id, job_logs.c.fence == fence))
    values = {
        "job_id": job_id,
        "fence": fence,
        "part": part.scalar_one() + 1,
        "attempt": log.attempt,
        "entries": orjson.dumps([[line.time, line.source, line.text] for line in log.lines]).decode(),
        "size": sum(line.size for line in log.lines),
        "truncated": int(log.truncated),
        "created_at": now,
    }
    connection.execute(insert(job_logs), values)


def replace(connection: Connection, job_id: str, fence: int, log: StoredLog, now: float) -> None:
    """Store the whole log of a run in place of the parts that arrived before its end."""
    connection.execute(delete(job_logs).where(job_logs.c.job_id == job_id, job_logs.c.fence == fence))
    append(connection, job_id, fence, log, now)


def forget_older_runs(connection: Connection, job_id: str, runs: int) -> None:
    """Delete the logs of all but the newest runs of a job. The oldest that remains says that lines are missing."""
    fences = list(
        connection.execute(
            select(job_logs.c.fence)
            .where(job_logs.c.job_id == job_id)
            .group_by(job_logs.c.fence)
            .order_by(job_logs.c.fence.desc())
        ).scalars()
    )
    # A job that fails again and again must not fill the database with its logs.
    if len(fences) > runs:
        of_job = job_logs.c.job_id == job_id
        connection.execute(delete(job_logs).where(of_job, job_logs.c.fence < fences[runs - 1]))
        oldest = job_logs.update().where(of_job, job_logs.c.fence == fences[runs - 1])
        connection.execute(oldest.values(truncated=1))


def of_job(connection: Connection, job_id: str) -> Iterable[StoredLog]:
    """Return the parts of the logs of a job's runs, oldest first."""
    rows = connection.execute(
        select(job_logs.c.attempt, job_logs.c.entries, job_logs.c.truncated)
        .where(job_logs.c.job_id == job_id)
        .order_by(job_logs.c.fence, job_logs.c.part)
    )
    return [
        StoredLog(attempt, [Line(*entry) for entry in orjson.loads(entries)], bool(truncated))
        for attempt, entries, truncated in rows
    ]


def prune(connection: Connection, created_before: float) -> int:
    """Delete the oldest parts, at most `PRUNED_AT_ONCE`. Return how many."""
    keys = (job_logs.c.job_id, job_logs.c.fence, job_logs.c.part)
    expired = select(*keys).where(job_logs.c.created_at < created_before).limit(PRUNED_AT_ONCE)
    rows = connection.execute(expired).all()
    for job_id, fence, part in rows:
        connection.execute(delete(job_logs).where(keys[0] == job_id, keys[1] == fence, keys[2] == part))
    return len(rows)


def forget(connection: Connection, job_ids: Sequence[str]) -> None:
    """Delete the logs of jobs."""
    connection.execute(delete(job_logs).where(job_logs.c.job_id.in_(job_ids)))
