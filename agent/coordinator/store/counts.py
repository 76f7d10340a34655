"""Numbers of jobs, updated with every change instead of being counted.

On PostgreSQL a change updates the row of the current seconds in `recent_job_counts`, and `fold` moves older rows into `job_counts`
(`store.recent`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, bindparam, func, select, text, union_all

from agent.coordinator.store import locks, recent
from agent.coordinator.store.concurrency import is_concurrent
from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.schema.tables import job_counts, recent_job_counts
from agent.core.jobs import JobState

Group = tuple[str, str, str]
"""Account, service, state."""
DELETED: Final = "~"
"""Before the state of jobs whose data was deleted: they are in no list, but remain in the network's statistics."""

_STATES: Final = tuple(state.value for state in JobState)

_NAME: Final = "job_counts"
_add = Prepared(
    text(
        "INSERT INTO job_counts (account_id, service, state, count) VALUES (:account_id, :service, :state, :change) "
        "ON CONFLICT (account_id, service, state) DO UPDATE SET count = job_counts.count + excluded.count"
    )
)
_add_recent = Prepared(
    text(
        "INSERT INTO recent_job_counts (account_id, service, state, part, change) "  # noqa: S608 - a constant
        f"VALUES (:account_id, :service, :state, {recent.part(_NAME)}, :change) "
        "ON CONFLICT (account_id, service, state, part) DO UPDATE SET change = recent_job_counts.change + excluded.change"
    )
)
_take_recent = Prepared(
    text(
        f"DELETE FROM recent_job_counts WHERE part >= {recent.first(_NAME)} AND (:everything = 1 OR part < :until) "  # noqa: S608 - constants
        "RETURNING account_id, service, state, change"
    )
)
IS_RECENT: Final = text(f"part >= {recent.first(_NAME)}")
"""The condition that a row of `recent_job_counts` exists. Queries begin at the first one."""
numbers = union_all(
    select(job_counts.c.account_id, job_counts.c.service, job_counts.c.state, job_counts.c.count),
    select(
        recent_job_counts.c.account_id,
        recent_job_counts.c.service,
        recent_job_counts.c.state,
        recent_job_counts.c.change.label("count"),
    ).where(IS_RECENT),
).subquery("numbers")
"""Numbers of jobs by account, service and state. A group may have several rows, which add up."""


def move(connection: Connection, moves: Iterable[tuple[Group | None, Group]]) -> None:
    """Count jobs that have moved from one group to another. New jobs move from None."""
    changes: Counter[Group] = Counter()
    for old_state, now in moves:
        changes[now] += 1
        if old_state is not None:
            changes[old_state] -= 1
    statement = _add_recent if is_concurrent(connection) else _add
    statement.run_many(connection, _rows(changes))


def fold(connection: Connection, *, everything: bool = False) -> None:
    """Move changes into `job_counts`: those of earlier seconds, or `everything`."""
    # Another replica that folds at the moment does the same work.
    if not is_concurrent(connection) or not locks.if_free(connection, "fold job_counts"):
        return
    until = recent.first_open(connection)
    changes: Counter[Group] = Counter()
    folded = _take_recent.rows(connection, {"everything": int(everything), "until": until})
    for account_id, service, state, change in folded:
        changes[account_id, service, state] += change
    _add.run_many(connection, _rows(changes))
    if folded:
        recent.record(connection, _NAME, until)


def _rows(changes: Counter[Group]) -> list[dict[str, Any]]:
    """Return the changes of all groups that have any, in the order of their keys."""
    return [
        {"account_id": account_id, "service": service, "state": state, "change": change}
        # In one order, so that two transactions that lock the same rows never wait for each other.
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
    conditions = {
        name: value for name, value in (("account_id", account_id), ("service", service)) if value is not None
    }
    counted_states = _STATES if states is None else states
    named = {f"state_{number}": state for number, state in enumerate(counted_states)}
    return int(_total(tuple(conditions), tuple(named)).scalar(connection, {**conditions, **named}))


@cache
def _total(condition_names: tuple[str, ...], states: tuple[str, ...]) -> Prepared:
    """Return the query for these columns and names of states."""
    conditions = [numbers.c[name] == bindparam(name) for name in condition_names]
    conditions.append(numbers.c.state.in_([bindparam(name) for name in states]))
    return Prepared(select(func.coalesce(func.sum(numbers.c.count), 0)).where(*conditions))


_running = Prepared(
    select(numbers.c.account_id, func.sum(numbers.c.count))
    .where(numbers.c.account_id == bindparam("key"), numbers.c.state == JobState.RUNNING.value)
    .group_by(numbers.c.account_id)
)


def running(connection: Connection, account_ids: Sequence[str]) -> dict[str, int]:
    """Return how many jobs each of these accounts runs, without those that run none."""
    rows = _running.rows_of(connection, "key", account_ids)
    return {account_id: int(count) for account_id, count in rows if count}


def by_state(connection: Connection) -> dict[str, int]:
    """Return the number of all jobs in each state, also of those whose data was deleted."""
    state = func.ltrim(numbers.c.state, DELETED)
    query = select(state, func.sum(numbers.c.count)).group_by(state)
    return {name: int(count) for name, count in connection.execute(query) if count}
