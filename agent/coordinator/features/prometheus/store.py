"""The numbers behind the coordinator's metrics, read by an index or from tables that do not grow with the number of jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, case, func, select

from agent.coordinator.store import counts
from agent.coordinator.store.schema.tables import (
    jobs,
    miners,
    stored_bytes,
)
from agent.core.jobs import JobState


@dataclass(frozen=True, slots=True)
class Numbers:
    """Numbers of one moment. `oldest` is when the oldest claimable job was submitted."""

    jobs: Mapping[tuple[str, ...], int]
    """By service and state."""
    claimable: int
    oldest: float | None
    miners: int
    online: int
    paused: int
    stored_bytes: int


def numbers(connection: Connection, offline_before: float) -> Numbers:
    """Return all numbers of this moment."""
    single_row = connection.execute
    state = func.ltrim(counts.numbers.c.state, counts.DELETED)
    by_state = select(counts.numbers.c.service, state, func.sum(counts.numbers.c.count))
    counted = single_row(by_state.group_by(counts.numbers.c.service, state))
    waiting = (jobs.c.state == JobState.SUBMITTED.value, jobs.c.missing_files.is_(None))
    claimable, oldest = single_row(select(func.count(), func.min(jobs.c.created_at)).where(*waiting)).one()
    online = miners.c.seen_at >= offline_before
    registered, present, paused = single_row(
        select(
            func.count(),
            func.coalesce(func.sum(case((online, 1), else_=0)), 0),
            func.coalesce(func.sum(case((online & miners.c.paused.is_not(None), 1), else_=0)), 0),
        )
        .select_from(miners)
        .where(miners.c.removed_at.is_(None))
    ).one()
    return Numbers(
        jobs={(service, state): int(count) for service, state, count in counted},
        claimable=int(claimable),
        oldest=oldest,
        miners=int(registered),
        online=int(present),
        paused=int(paused),
        stored_bytes=int(single_row(select(func.coalesce(func.sum(stored_bytes.c.size), 0))).scalar_one()),
    )
