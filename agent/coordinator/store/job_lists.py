"""Lists of jobs, newest first, and the labels by which they are filtered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, exists, func, insert, literal, select

from agent.coordinator.store import counts
from agent.coordinator.store import jobs as store
from agent.coordinator.store.jobs import JobRecord
from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.schema.tables import accounts, job_labels, jobs
from agent.core.jobs import FINAL

_insert_labels = Prepared(insert(job_labels))
_without_spec = [
    literal("").label(column.name) if column.name == jobs.c.spec.name else column for column in jobs.c
]


@dataclass(frozen=True, slots=True)
class JobFilter:
    """The jobs that a list shows: those to which all given fields apply. `account_id` None means all accounts."""

    account_id: str | None = None
    status: str | None = None
    service: str | None = None
    name: str | None = None
    miner_id: str | None = None
    offer_id: str | None = None
    labels: tuple[tuple[str, str], ...] = ()


def page(
    connection: Connection, wanted: JobFilter, *, limit: int, offset: int
) -> tuple[list[JobRecord], int]:
    """Return jobs, newest first, and the number of all that the filter shows.

    Their `spec` is empty, since hundreds of large ones would not fit into memory.
    """
    order = (job_labels if wanted.labels else jobs).c.job_id.desc()
    query = _filtered(select(*_without_spec), wanted).order_by(order).limit(limit).offset(offset)
    return [store.from_row(row) for row in connection.execute(query)], _total(connection, wanted)


def _filtered(query: Select[Any], wanted: JobFilter) -> Select[Any]:
    """Return the query with the conditions of the filter, of which the rarest one chooses the index.

    Without statistics, SQLite would rather read all jobs of an account, of which there are many more than of a label, name, offer or
    miner.
    """
    columns = {
        "name": wanted.name,
        "offer_id": wanted.offer_id,
        "miner_id": wanted.miner_id,
        "account_id": wanted.account_id,
        "service": wanted.service,
        "state": wanted.status,
    }
    given = {name: value for name, value in columns.items() if value is not None}
    conditions: list[ColumnElement[bool]] = [jobs.c.deleted_at.is_(None)]
    indexed = {"account_id", "service", "state"}
    if wanted.labels:
        indexed = set()
        given.pop("account_id", None)
    elif rare := [name for name in ("name", "offer_id", "miner_id") if name in given]:
        indexed = {"name", "account_id"} if rare[0] == "name" else {rare[0]}
        if rare[0] == "name" and wanted.account_id is None:
            # The index begins with the account: one search for each account, instead of a scan of all jobs.
            conditions.append(jobs.c.account_id.in_(select(accounts.c.account_id)))
    elif wanted.status is not None:
        # Redundant, but it lets the query planner choose the right partial index.
        ended = jobs.c.finished_at.is_not(None) if wanted.status in FINAL else jobs.c.finished_at.is_(None)
        conditions.append(ended)
    for name, value in given.items():
        conditions.append((jobs.c[name] if name in indexed else func.coalesce(jobs.c[name], "")) == value)
    if not wanted.labels:
        return query.where(*conditions)
    conditions += _of_labels(wanted)
    return query.join_from(job_labels, jobs, jobs.c.job_id == job_labels.c.job_id).where(*conditions)


def _of_labels(wanted: JobFilter) -> list[ColumnElement[bool]]:
    (key, value), *others = wanted.labels
    conditions: list[ColumnElement[bool]] = [job_labels.c.key == key, job_labels.c.value == value]
    if wanted.account_id is not None:
        conditions.append(job_labels.c.account_id == wanted.account_id)
    for other_key, other_value in others:
        other = job_labels.alias()
        conditions.append(
            exists().where(
                other.c.job_id == job_labels.c.job_id, other.c.key == other_key, other.c.value == other_value
            )
        )
    return conditions


def _total(connection: Connection, wanted: JobFilter) -> int:
    of_account = JobFilter(wanted.account_id, wanted.status, wanted.service)
    if wanted == of_account:
        states = None if wanted.status is None else (wanted.status,)
        return counts.total(connection, account_id=wanted.account_id, service=wanted.service, states=states)
    if wanted == JobFilter(wanted.account_id, labels=wanted.labels):  # deleted jobs have no labels
        query = select(func.count()).select_from(job_labels).where(*_of_labels(wanted))
    else:
        query = _filtered(select(func.count()).select_from(jobs), wanted)
    return int(connection.execute(query).scalar_one())


def names(connection: Connection, job_ids: Sequence[str]) -> dict[str, str]:
    """Return the names of jobs by id, without those of deleted ones."""
    query = select(jobs.c.job_id, jobs.c.name).where(jobs.c.job_id.in_(job_ids), jobs.c.deleted_at.is_(None))
    return {row.job_id: row.name for row in connection.execute(query)}


@dataclass(frozen=True, slots=True)
class LabelCount:
    """How many jobs have a label."""

    key: str
    value: str
    jobs: int


def label_counts(
    connection: Connection, *, account_id: str | None, key: str | None, limit: int
) -> list[LabelCount]:
    """Return the labels with this key, or all, those of most jobs first. `account_id` None means the jobs of all accounts."""
    columns = (job_labels.c.key, job_labels.c.value)
    number = func.count()
    query = select(*columns, number).group_by(*columns).order_by(number.desc(), *columns).limit(limit)
    if account_id is not None:
        query = query.where(job_labels.c.account_id == account_id)
    if key is not None:
        query = query.where(job_labels.c.key == key)
    return [LabelCount(*row) for row in connection.execute(query)]


def add_labels(connection: Connection, job_id: str, account_id: str, labels: Mapping[str, str]) -> None:
    """Store the labels of a new job for filters."""
    rows = [
        {"job_id": job_id, "account_id": account_id, "key": key, "value": value}
        for key, value in labels.items()
    ]
    _insert_labels.run_many(connection, rows)
