"""Numbers of jobs, updated with every change instead of being counted.

On PostgreSQL a change updates the row of the current seconds in `recent_job_counts`, and `fold` moves older rows into `job_counts`. While
a transaction of another program holds a snapshot, PostgreSQL cannot remove old versions of a row, and an update has to pass all of them:
so no row is updated for long. A number is the sum over both tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, bindparam, func, select, text, union_all

from agent.coordinator.store import locks
from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.schema.tables import job_counts, recent_job_counts
from agent.core.jobs import JobState

Group = tuple[str, str, str]
"""Account, service, state."""
DELETED: Final = "~"
"""Before the state of jobs whose data was deleted: they are in no list, but remain in the network's statistics."""

_STATES: Final = tuple(state.value for state in JobState)

RECENT_SECONDS: Final = 10
"""For how long changes update the same row on PostgreSQL."""

_add = Prepared(
    text(
        "INSERT INTO job_counts (account_id, service, state, count) VALUES (:account_id, :service, :state, :change) "
        "ON CONFLICT (account_id, service, state) DO UPDATE SET count = job_counts.count + excluded.count"
    )
)
_PART: Final = f"extract(epoch FROM now())::bigint / {RECENT_SECONDS}"
_add_recent = Prepared(
    text(
        "INSERT INTO recent_job_counts (account_id, service, state, part, change) "  # noqa: S608 - a constant
        f"VALUES (:account_id, :service, :state, {_PART}, :change) "
        "ON CONFLICT (account_id, service, state, part) DO UPDATE SET change = recent_job_counts.change + excluded.change"
    )
)
_take_recent = Prepared(
    text(
        f"DELETE FROM recent_job_counts WHERE part <= {_PART} - :age "  # noqa: S608 - a constant
        "RETURNING account_id, service, state, change"
    )
)
numbers = union_all(
    select(job_counts.c.account_id, job_counts.c.service, job_counts.c.state, job_counts.c.count),
    select(
        recent_job_counts.c.account_id,
        recent_job_counts.c.service,
        recent_job_counts.c.state,
        recent_job_counts.c.change.label("count"),
    ),
).subquery("numbers")
"""Numbers of jobs by account, service and state. A group may have several rows, which add up."""


def move(connection: Connection, moves: Iterable[tuple[Group | None, Group]]) -> None:
    """Count jobs that have moved from one group to another. New jobs move from None."""
    changes: Counter[Group] = Counter()
    for before, now in moves:
        changes[now] += 1
        if before is not None:
            changes[before] -= 1
    statement = _add_recent if connection.dialect.name == locks.POSTGRESQL else _add
    statement.run_many(connection, _rows(changes))


def fold(connection: Connection, age: int = 2) -> None:
    """Move the changes of earlier seconds into `job_counts`: those that are `age` times `RECENT_SECONDS` old."""
    if connection.dialect.name != locks.POSTGRESQL or not locks.if_free(connection, "fold job_counts"):
        return
    changes: Counter[Group] = Counter()
    for account_id, service, state, change in _take_recent.rows(connection, {"age": age}):
        changes[account_id, service, state] += change
    _add.run_many(connection, _rows(changes))


def _rows(changes: Counter[Group]) -> list[dict[str, Any]]:
    """Return the changes of all groups that have any, in the order of their keys."""
    return [
        {"account_id": account_id, "service": service, "state": state, "change": change}
        for (account_id, service, state), change in sorted(changes.items())
        if change
    ]


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
    conditions = [numbers.c[name] == bindparam(name) for name in given]
    conditions.append(numbers.c.state.in_([bindparam(name) for name in states]))
    return Prepared(select(func.coalesce(func.sum(numbers.c.count), 0)).where(*conditions))


def by_state(connection: Connection) -> dict[str, int]:
    """Return the number of all jobs in each state, also of those whose data was deleted."""
    state = func.ltrim(numbers.c.state, DELETED)
    query = select(state, func.sum(numbers.c.count)).group_by(state)
    return {name: int(count) for name, count in connection.execute(query) if count}
