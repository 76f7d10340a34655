"""Which jobs may be unfinished, for queries that run many times in a minute.

Partial indexes contain the jobs that wait or run, and no others. But while a transaction of another program holds a snapshot,
PostgreSQL cannot remove what every job leaves in them as it goes on, and a query has to pass all of that. So a replica knows
which older jobs were unfinished a moment ago, and looks in the index for recent ones only. A job that has ended never begins again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, bindparam, func, select, text, tuple_

from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.schema.tables import jobs
from agent.core.jobs import JobState

MOST: Final = 200
"""Maximum number of older jobs that are known. If there are more, queries use the partial indexes."""
MOST_RECENT: Final = 1000
"""Maximum number of jobs in a condition. With more, queries use the partial indexes, too."""
RECENT_SECONDS: Final = 2
"""A job is recent in the first seconds after its submission."""
_UNFINISHED: Final = (JobState.SUBMITTED, JobState.RUNNING)
_END: Final = "job_~"
"""An id behind those of all jobs."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The ids of older jobs that were unfinished, and the first id that a recent job may have."""

    older: tuple[str, ...]
    since: str


class UnfinishedRows:
    """A query for columns of unfinished jobs."""

    def __init__(self, *columns: ColumnElement[Any]) -> None:
        # Both columns are compared at once, so that reading begins in the middle of the index over both. If the planner knew the state,
        # it would use an index with the jobs of this state only.
        position = tuple_(jobs.c.state, jobs.c.job_id)
        between = (
            position >= tuple_(bindparam("state"), bindparam("first")),
            position < tuple_(bindparam("state"), bindparam("end")),
        )
        recent = (
            select(*columns)
            .where(text("finished_at IS NULL"), *between)
            .order_by(jobs.c.state, jobs.c.job_id)
        )
        self._recent = Prepared(recent.limit(bindparam("most")))
        self._older = Prepared(select(jobs.c.state, *columns).where(jobs.c.job_id == bindparam("key")))

    def of(
        self,
        connection: Connection,
        state: JobState,
        unfinished: Unfinished,
        limit: int | None = None,
        end: str = _END,
    ) -> list[tuple[Any, ...]]:
        """Return the rows of the jobs in this state: older ones, and recent ones with ids before `end`, at most so many."""
        older = self._older.rows_of(connection, "key", unfinished.older)
        recent = self.between(connection, state, first=unfinished.since, end=end, limit=limit)
        return [row[1:] for row in older if row[0] == state] + recent

    def between(
        self,
        connection: Connection,
        state: JobState,
        *,
        first: str = "",
        end: str = _END,
        limit: int | None = None,
    ) -> list[tuple[Any, ...]]:
        """Return the rows of jobs in this state with ids from `first` on and before `end`, in this order, at most so many."""
        values = {"state": state.value, "first": first, "end": end, "most": limit}
        return self._recent.rows(connection, values)


_ids = UnfinishedRows(jobs.c.job_id)
# With literals the query planner recognizes the partial indexes: those of waiting jobs, and the one of all unfinished jobs. No index has
# the end of a running job's lease, which every heartbeat changes.
_WAITS = text("jobs.state = 'submitted'")
RUNS = text("jobs.state = 'running' AND jobs.finished_at IS NULL")


def scan(connection: Connection, since: str, earlier: Unfinished | None = None) -> Unfinished | None:
    """Return what is unfinished, with jobs from the id `since` on as recent ones. Return None if more than `MOST` older ones are.

    With what was `earlier`, only what has changed since is read. That misses jobs that were stored late, after their ids were passed.
    """
    older = []
    for state in _UNFINISHED:
        if earlier is None:
            rows = _ids.between(connection, state, end=since, limit=MOST + 1)
        else:
            rows = _ids.of(connection, state, earlier, MOST + 1, end=since)
        older += [row[0] for row in rows]
    return Unfinished(tuple(older), since) if len(older) <= MOST else None


def in_state(
    connection: Connection, state: JobState, unfinished: Unfinished | None
) -> list[ColumnElement[bool]]:
    """Return the conditions that a job is in this state."""
    ids = (
        []
        if unfinished is None
        else [row[0] for row in _ids.of(connection, state, unfinished, MOST_RECENT + 1)]
    )
    if unfinished is None or len(ids) > MOST_RECENT:
        return [RUNS if state is JobState.RUNNING else _WAITS]  # type: ignore[list-item]
    # With a function around the column, the query planner does not recognize the partial indexes.
    return [func.lower(jobs.c.state) == state.value, jobs.c.job_id.in_(ids)]
