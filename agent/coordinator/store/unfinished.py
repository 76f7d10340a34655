"""The condition that a job waits or runs, for queries that run many times in a minute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from sqlalchemy import ColumnElement, Connection, bindparam, func, select, text

from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.schema.tables import jobs
from agent.core.jobs import JobState

UNFINISHED: Final = "unfinished"
"""The execution option of an engine with its `UnfinishedIds`, if queries may have to pass ended jobs in its partial indexes."""

# With literals the query planner recognizes the partial indexes: those of waiting jobs, and the one of all unfinished jobs. No index has
# the end of a running job's lease, which every heartbeat changes.
_WAITS = text("jobs.state = 'submitted'")
RUNS = text("jobs.state = 'running' AND jobs.finished_at IS NULL")


class UnfinishedIds(Protocol):
    """What an engine knows of unfinished jobs."""

    def ids(self, connection: Connection, state: JobState) -> Sequence[str] | None:
        """Return ids among which are those of all jobs in this state; None: the partial indexes are better."""


def _ids(connection: Connection, state: JobState) -> Sequence[str] | None:
    known: UnfinishedIds | None = connection.get_execution_options().get(UNFINISHED)
    return None if known is None else known.ids(connection, state)


class UnfinishedRows:
    """A query for columns of unfinished jobs, where an engine knows their ids."""

    def __init__(self, *columns: ColumnElement[Any]) -> None:
        self._by_id = Prepared(select(jobs.c.state, *columns).where(jobs.c.job_id == bindparam("key")))

    def of(self, connection: Connection, state: JobState) -> list[tuple[Any, ...]] | None:
        """Return the rows of the jobs in this state; None: the partial indexes are better."""
        job_ids = _ids(connection, state)
        if job_ids is None:
            return None
        return [row[1:] for row in self._by_id.rows_of(connection, "key", job_ids) if row[0] == state]


def in_state(connection: Connection, state: JobState) -> list[ColumnElement[bool]]:
    """Return the conditions that a job is in this state."""
    job_ids = _ids(connection, state)
    if job_ids is None:
        return [RUNS if state is JobState.RUNNING else _WAITS]  # type: ignore[list-item]
    # With a function around the column, the query planner does not recognize the partial indexes.
    return [func.lower(jobs.c.state) == state.value, jobs.c.job_id.in_(job_ids)]
