"""Which jobs may be unfinished, for queries that run many times in a minute.

Partial indexes contain the jobs that wait or run, and no others. But while a transaction of another program holds a snapshot,
PostgreSQL cannot remove what every job leaves in them as it goes on, and a query has to pass all of that. So a replica knows
which older jobs were unfinished a moment ago, and looks in the index for recent ones only. A job that has ended never begins again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, bindparam, select, text, tuple_

from agent.coordinator.store.database import Database
from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.schema.tables import jobs
from agent.core.jobs import JobState
from agent.core.values.quantities import make_id

MOST: Final = 200
"""Maximum number of older jobs that are known. If there are more, queries use the partial indexes."""
MOST_RECENT: Final = 1000
"""Maximum number of recent jobs. With more, queries use the partial indexes, too."""
RECENT_SECONDS: Final = 2
"""A job is recent in the first seconds after its submission."""
SHARE: Final = 0.02
"""Maximum share of the time that whole scans take. While one is slow, the next ones read only what has changed."""
_END: Final = "job_~"
"""An id behind those of all jobs."""

# Both columns are compared at once, so that reading begins in the middle of the index over both. If the planner knew the state,
# it would use an index with the jobs of this state only.
_position = tuple_(jobs.c.state, jobs.c.job_id)
_between = Prepared(
    select(jobs.c.job_id)
    .where(
        text("finished_at IS NULL"),
        _position >= tuple_(bindparam("state"), bindparam("first")),
        _position < tuple_(bindparam("state"), bindparam("end")),
    )
    .order_by(jobs.c.state, jobs.c.job_id)
    .limit(bindparam("most"))
)
_states = Prepared(select(jobs.c.job_id, jobs.c.state).where(jobs.c.job_id == bindparam("key")))


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The ids of older jobs that were unfinished, and the first id that a recent job may have."""

    older: tuple[str, ...]
    since: str


class UnfinishedJobs:
    """Scans for unfinished jobs. `known` are those of the last scan, or None: then queries do without."""

    def __init__(self) -> None:
        self._whole_at = 0.0
        self.known: Unfinished | None = None

    def ids(self, connection: Connection, state: JobState) -> Sequence[str] | None:
        """Return ids among which are those of all jobs in this state, None if they are too many."""
        # Read once, since a scan may replace it meanwhile. The older one remains right.
        known = self.known
        if known is None:
            return None
        recent = _ids_between(connection, state, known.since, _END, MOST_RECENT + 1)
        return None if len(recent) > MOST_RECENT else [*known.older, *recent]

    async def scan(self, database: Database, now: float) -> None:
        """Scan once. If it fails, what is known remains right."""
        started = time.monotonic()
        since = make_id("job", now - RECENT_SECONDS, bytes(10))
        is_due = started >= self._whole_at
        if self.known is None and not is_due:
            return
        # If the clock was set back, the last scan does not reach back as far as it must.
        is_full_scan = is_due or self.known is None or since < self.known.since
        self.known = await database.read(scan, since, None if is_full_scan else self.known)
        if is_full_scan:
            ended = time.monotonic()
            self._whole_at = ended + (ended - started) / SHARE


def scan(connection: Connection, since: str, earlier: Unfinished | None = None) -> Unfinished | None:
    """Return what is unfinished, with jobs from the id `since` on as recent ones. Return None if more than `MOST` older ones are.

    With what was `earlier`, only what has changed since is read. That misses jobs that were stored late, after their ids were passed.
    """
    older: list[str] = []
    first = "" if earlier is None else earlier.since
    if earlier is not None:
        states = _states.rows_of(connection, "key", earlier.older)
        older += [job_id for job_id, state in states if state in (JobState.SUBMITTED, JobState.RUNNING)]
    for state in (JobState.SUBMITTED, JobState.RUNNING):
        older += _ids_between(connection, state, first, since, MOST + 1)
    return Unfinished(tuple(sorted(older)), since) if len(older) <= MOST else None


def _ids_between(connection: Connection, state: JobState, first: str, end: str, most: int) -> list[str]:
    """Return the ids of jobs in this state from `first` on and before `end`, in this order, at most so many."""
    values = {"state": state.value, "first": first, "end": end, "most": most}
    return [row[0] for row in _between.rows(connection, values)]
