"""How many jobs there are of each kind, kept up to date with every change instead of being counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from sqlalchemy import Connection, func, select, text

from agent.coordinator.store.tables import job_counts

Place = tuple[str, str, str]
"""Account, service, state."""

_add = text(
    "INSERT INTO job_counts (account_id, service, state, count) VALUES (:account_id, :service, :state, :change) "
    "ON CONFLICT (account_id, service, state) DO UPDATE SET count = job_counts.count + excluded.count"
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
    if rows:
        connection.execute(_add, rows)


def total(
    connection: Connection,
    *,
    account_id: str | None = None,
    service: str | None = None,
    states: Iterable[str] | None = None,
) -> int:
    """How many jobs there are, of an account, a service, in some states, where given."""
    query = select(func.coalesce(func.sum(job_counts.c.count), 0))
    if account_id is not None:
        query = query.where(job_counts.c.account_id == account_id)
    if service is not None:
        query = query.where(job_counts.c.service == service)
    if states is not None:
        query = query.where(job_counts.c.state.in_(tuple(states)))
    return int(connection.execute(query).scalar_one())


def by_state(connection: Connection) -> dict[str, int]:
    """How many jobs are in each state."""
    query = select(job_counts.c.state, func.sum(job_counts.c.count)).group_by(job_counts.c.state)
    return {state: int(count) for state, count in connection.execute(query) if count}
