"""Lists of jobs, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, literal, select

from agent.coordinator.store import counts
from agent.coordinator.store.jobs import JobRecord, from_row
from agent.coordinator.store.schema.tables import accounts, jobs
from agent.core.jobs import FINAL

_without_spec = [
    literal("").label(column.name) if column.name == jobs.c.spec.name else column for column in jobs.c
]


@dataclass(frozen=True, slots=True, eq=False)
class Narrowing:
    """A feature's filter: the jobs in `job_id`, a column of one of its tables, in rows for which all conditions hold.

    The column has an index in the order of its values under these conditions. The rows are of no deleted jobs, and only of those of the
    account that the list shows, if it shows one.
    """

    job_id: ColumnElement[str]
    conditions: tuple[ColumnElement[bool], ...]


@dataclass(frozen=True, slots=True)
class JobFilter:
    """The jobs that a list shows: those to which all given fields apply. `account_id` None means all accounts."""

    account_id: str | None = None
    status: str | None = None
    service: str | None = None
    name: str | None = None
    miner_id: str | None = None
    narrowings: tuple[Narrowing, ...] = ()


def page(
    connection: Connection, job_filter: JobFilter, *, limit: int, offset: int
) -> tuple[list[JobRecord], int]:
    """Return jobs, newest first, and the number of all that the filter shows.

    Their `spec` is empty, since hundreds of large ones would not fit into memory.
    """
    order = job_filter.narrowings[0].job_id if job_filter.narrowings else jobs.c.job_id
    query = _filtered(select(*_without_spec), job_filter).order_by(order.desc()).limit(limit).offset(offset)
    return [from_row(row) for row in connection.execute(query)], _total(connection, job_filter)


def _filtered(query: Select[Any], job_filter: JobFilter) -> Select[Any]:
    """Return the query with the conditions of the filter, of which the rarest one chooses the index.

    Without statistics, SQLite would rather read all jobs of an account, of which there are many more than of a name, a miner or a
    narrowing.
    """
    columns = {
        "name": job_filter.name,
        "miner_id": job_filter.miner_id,
        "account_id": job_filter.account_id,
        "service": job_filter.service,
        "state": job_filter.status,
    }
    equal = {name: value for name, value in columns.items() if value is not None}
    conditions: list[ColumnElement[bool]] = [jobs.c.deleted_at.is_(None)]
    indexed = {"account_id", "service", "state"}
    if job_filter.narrowings:
        indexed = set()
        equal.pop("account_id", None)
    elif rare := [name for name in ("name", "miner_id") if name in equal]:
        indexed = {"name", "account_id"} if rare[0] == "name" else {rare[0]}
        if rare[0] == "name" and job_filter.account_id is None:
            # The index begins with the account: one search for each account, instead of a scan of all jobs.
            conditions.append(jobs.c.account_id.in_(select(accounts.c.account_id)))
    elif job_filter.status is not None:
        # Redundant, but it lets the query planner choose the right partial index.
        ended = (
            jobs.c.finished_at.is_not(None) if job_filter.status in FINAL else jobs.c.finished_at.is_(None)
        )
        conditions.append(ended)
    for name, value in equal.items():
        conditions.append((jobs.c[name] if name in indexed else func.coalesce(jobs.c[name], "")) == value)
    if not job_filter.narrowings:
        return query.where(*conditions)
    rarest, *further = job_filter.narrowings
    conditions += rarest.conditions
    for narrowing in further:
        conditions.append(jobs.c.job_id.in_(select(narrowing.job_id).where(*narrowing.conditions)))
    return query.where(jobs.c.job_id == rarest.job_id, *conditions)


def _total(connection: Connection, job_filter: JobFilter) -> int:
    of_account = JobFilter(job_filter.account_id, job_filter.status, job_filter.service)
    if job_filter == of_account:
        states = None if job_filter.status is None else (job_filter.status,)
        return counts.total(
            connection, account_id=job_filter.account_id, service=job_filter.service, states=states
        )
    if job_filter == JobFilter(job_filter.account_id, narrowings=job_filter.narrowings[:1]):
        query = select(func.count(job_filter.narrowings[0].job_id)).where(
            *job_filter.narrowings[0].conditions
        )
    else:
        query = _filtered(select(func.count()).select_from(jobs), job_filter)
    return int(connection.execute(query).scalar_one())


def names(connection: Connection, job_ids: Sequence[str]) -> dict[str, str]:
    """Return the names of jobs by id, without those of deleted ones."""
    query = select(jobs.c.job_id, jobs.c.name).where(jobs.c.job_id.in_(job_ids), jobs.c.deleted_at.is_(None))
    return {row.job_id: row.name for row in connection.execute(query)}
