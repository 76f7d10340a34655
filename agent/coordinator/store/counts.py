"""Numbers of jobs, updated with every change instead of being counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Final

from sqlalchemy import Connection, bindparam, func, select, text

from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.schema.tables import job_counts
from agent.core.jobs import JobState

Group = tuple[str, str, str]
"""Account, service, state."""
DELETED: Final = "~"
"""Before the state of jobs whose data was deleted: they are in no list, but remain in the network's statistics."""

_STATES: Final = tuple(state.value for state in JobState)

_add = Prepared(
    text(
        "INSERT INTO job_counts (account_id, service, state, count) VALUES (:account_id, :service, :state, :change) "
        "ON CONFLICT (account_id, service, state) DO UPDATE SET count = job_counts.count + excluded.count"
    )
)


def move(connection: Connection, moves: Iterable[tuple[Group | None, Group]]) -> None:
    """Count jobs that have moved from one group to another. New jobs move from None."""
    changes: Counter[Group] = Counter()
    for before, now in moves:
        changes[now] += 1
        if before is not None:
            changes[before] -= 1
    rows = [
        {"account_id": account_id, "service": service, "state": state, "change": change}
        for (account_id, service, state), change in sorted(changes.items())
        if change
    ]
    _add.run_many(connection, rows)


def total(
    connection: Connection,
    *,
    account_id: str | None = None,
    service: str | None = None,
    states: Iterable[str] | None = None,
) -> int:
    """Return the number of jobs whose data exists, optionally of one account, of one service, and in certain states."""
    given = {
        name: value for name, value in (("account_id", account_id), ("service", service)) if value is not None
    }
    wanted = _STATES if states is None else states
    named = {f"state_{number}": state for number, state in enumerate(wanted)}
    return int(_total(tuple(given), tuple(named)).scalar(connection, {**given, **named}))


@cache
def _total(given: tuple[str, ...], states: tuple[str, ...]) -> Prepared:
    """Return the query for these columns and names of states."""
    conditions = [job_counts.c[name] == bindparam(name) for name in given]
    conditions.append(job_counts.c.state.in_([bindparam(name) for name in states]))
    return Prepared(select(func.coalesce(func.sum(job_counts.c.count), 0)).where(*conditions))


def by_state(connection: Connection) -> dict[str, int]:
    """Return the number of all jobs in each state, also of those whose data was deleted."""
    state = func.ltrim(job_counts.c.state, DELETED)
    query = select(state, func.sum(job_counts.c.count)).group_by(state)
    return {name: int(count) for name, count in connection.execute(query) if count}
