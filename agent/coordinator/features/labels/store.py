"""The labels of jobs: rows and queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, bindparam, delete, exists, func, insert, select

from agent.coordinator.features.labels.tables import job_labels
from agent.coordinator.store import records
from agent.coordinator.store.job_lists import Narrowing
from agent.coordinator.store.prepared import Prepared

Label = tuple[str, str]
"""A key and a value."""

_insert = Prepared(insert(job_labels))
_of_job = Prepared(
    select(job_labels.c.job_id, job_labels.c.key, job_labels.c.value)
    .where(job_labels.c.job_id == bindparam("key_of_job"))
    .order_by(job_labels.c.job_id, job_labels.c.key)
)


@dataclass(frozen=True, slots=True)
class CountedLabel:
    """How many jobs have a label."""

    key: str
    value: str
    jobs: int


def add(connection: Connection, labels: Sequence[tuple[str, str, Label]]) -> None:
    """Store labels of new jobs, each with the job and its account."""
    rows = [
        {"job_id": job_id, "account_id": account_id, "key": key, "value": value}
        for job_id, account_id, (key, value) in labels
    ]
    _insert.run_many(connection, rows)


def of_jobs(connection: Connection, job_ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the labels of those jobs that have any, sorted by their keys."""
    labels: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for job_id, key, value in _of_job.rows_of(connection, "key_of_job", job_ids):
        labels[job_id][key] = value
    return dict(labels)


def narrowing(labels: Sequence[Label], account_id: str | None) -> Narrowing:
    """Return the condition that jobs have all of these labels. `account_id` None means the jobs of all accounts."""
    (key, value), *further = labels
    conditions: list[ColumnElement[bool]] = [job_labels.c.key == key, job_labels.c.value == value]
    if account_id is not None:
        # The index begins with the account, so only its own rows are read.
        conditions.append(job_labels.c.account_id == account_id)
    for key, value in further:
        # Each further label is another row of the same job.
        wanted_label = job_labels.alias()
        conditions.append(
            exists().where(
                wanted_label.c.job_id == job_labels.c.job_id,
                wanted_label.c.key == key,
                wanted_label.c.value == value,
            )
        )
    return Narrowing(job_labels.c.job_id, tuple(conditions))


def counts(
    connection: Connection, *, account_id: str | None, key: str | None, limit: int
) -> list[CountedLabel]:
    """Return the labels with this key, or all, those of most jobs first. `account_id` None means the jobs of all accounts."""
    columns = (job_labels.c.key, job_labels.c.value)
    number = func.count()
    query = select(*columns, number).group_by(*columns).order_by(number.desc(), *columns).limit(limit)
    if account_id is not None:
        query = query.where(job_labels.c.account_id == account_id)
    if key is not None:
        query = query.where(job_labels.c.key == key)
    return records.find_all(connection, CountedLabel, query)


def forget(connection: Connection, job_ids: Sequence[str]) -> None:
    """Delete the labels of jobs."""
    connection.execute(delete(job_labels).where(job_labels.c.job_id.in_(job_ids)))
