"""How many jobs there are of each kind, kept up to date with every change instead of being counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache

from sqlalchemy import Connection, bindparam, func, select, text

from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.schema.tables import job_counts

Place = tuple[str, str, str]
"""Account, service, state."""

_add = Prepared(
    text(
        "INSERT INTO job_counts (account_id, service, state, count) VALUES (:account_id, :service, :state, :change) "
        "ON CONFLICT (account_id, service, state) DO UPDATE SET count = job_counts.count + excluded.count"
    )
)


def move(connection: Connection, moves: Iterable[tuple[Place | None, Place]]) -> None:
    """Count jobs that have gone from one place to another; from None: new ones."""
    changes: Counter[Place] = Counter()
    for before, now in moves:
        changes[now] += 1
        if before is not None:
            changes[before] -= 1
    rows = [
        {"account_id": account_id, "service": service, "state": state, "change": change}
        for (account_id, service, state), change in changes.items()
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
    """How many jobs there are, of an account, a service, in some states, where given."""
    given = {
        name: value for name, value in (("account_id", account_id), ("service", service)) if value is not None
    }
    wanted = None if states is None else {f"state_{number}": state for number, state in enumerate(states)}
    query = _total(tuple(given), None if wanted is None else tuple(wanted))
    return int(query.scalar(connection, {**given, **(wanted or {})}))


@cache
def _total(given: tuple[str, ...], states: tuple[str, ...] | None) -> Prepared:
    """The query for these columns and names of states."""
    conditions = [job_counts.c[name] == bindparam(name) for name in given]
    if states is not None:
        conditions.append(job_counts.c.state.in_([bindparam(name) for name in states]))
    return Prepared(select(func.coalesce(func.sum(job_counts.c.count), 0)).where(*conditions))


def by_state(connection: Connection) -> dict[str, int]:
    """How many jobs are in each state."""
    query = select(job_counts.c.state, func.sum(job_counts.c.count)).group_by(job_counts.c.state)
    return {state: int(count) for state, count in connection.execute(query) if count}
