"""Queries for the files of an account."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, case, func, select

from agent.coordinator.store import records
from agent.coordinator.store.schema.tables import artifact_owners, artifacts, job_artifacts, jobs

AFTER_HEX = "g"
"""Sorts after every hexadecimal digit."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of an account; `size` is in bytes, `created_at` in seconds since 1970."""

    artifact_id: str
    size: int
    media_type: str
    file_name: str | None
    created_at: float


def files_of(
    connection: Connection, account_id: str, prefix: str, limit: int, offset: int
) -> list[StoredFile]:
    """Return a page of the account's files whose ids begin with `prefix`, newest first."""
    columns = (
        artifacts.c.artifact_id,
        artifacts.c.size,
        artifact_owners.c.media_type,
        artifact_owners.c.file_name,
        artifacts.c.created_at,
    )
    query = (
        select(*columns)
        .join(artifact_owners, artifact_owners.c.artifact_id == artifacts.c.artifact_id)
        .where(*_of_account(account_id, prefix))
        .order_by(artifacts.c.created_at.desc(), artifacts.c.artifact_id)
        .limit(limit)
        .offset(offset)
    )
    return records.find_all(connection, StoredFile, query)


def count(connection: Connection, account_id: str, prefix: str) -> int:
    """Return the number of the account's files whose ids begin with `prefix`."""
    query = select(func.count()).select_from(artifact_owners).where(*_of_account(account_id, prefix))
    return int(connection.execute(query).scalar_one())


def _of_account(account_id: str, prefix: str) -> list[ColumnElement[bool]]:
    conditions = [artifact_owners.c.owner == account_id]
    if prefix:
        # A range, for which the index of the ids is used.
        column = artifact_owners.c.artifact_id
        conditions += [column >= prefix, column < prefix + AFTER_HEX]
    return conditions


@dataclass(frozen=True, slots=True)
class FileUse:
    """A job that reads a file (`input`) or wrote it (`output`), its name there, and the number of all jobs that do."""

    job_id: str
    direction: str
    file_name: str | None
    jobs: int


def uses_of(
    connection: Connection, account_id: str, artifact_ids: Sequence[str], limit: int
) -> dict[str, list[FileUse]]:
    """Return the newest jobs of the account with each of these files, at most `limit` for each."""
    using = (
        select(
            job_artifacts.c.artifact_id,
            job_artifacts.c.job_id,
            # A job that returns its input is named once, as its reader.
            func.min(job_artifacts.c.direction).label("direction"),
            func.max(
                case(
                    (job_artifacts.c.direction == "output", job_artifacts.c.name),
                    else_=job_artifacts.c.file_name,
                )
            ).label("file_name"),
        )
        .join(jobs, jobs.c.job_id == job_artifacts.c.job_id)
        .where(job_artifacts.c.artifact_id.in_(artifact_ids), jobs.c.account_id == account_id)
        .group_by(job_artifacts.c.artifact_id, job_artifacts.c.job_id)
        .subquery()
    )
    artifact_id, job_id = using.c.artifact_id, using.c.job_id
    # Numbered in the database: one file may be the input of all jobs of an account.
    numbered = select(
        artifact_id,
        job_id,
        using.c.direction,
        using.c.file_name,
        func.row_number().over(partition_by=artifact_id, order_by=job_id.desc()).label("number"),
        func.count().over(partition_by=artifact_id).label("jobs"),
    ).subquery()
    columns = (numbered.c[name] for name in ("artifact_id", "job_id", "direction", "file_name", "jobs"))
    query = select(*columns).where(numbered.c.number <= limit).order_by(numbered.c.number)
    uses: defaultdict[str, list[FileUse]] = defaultdict(list)
    for file_id, *use in connection.execute(query):
        uses[file_id].append(FileUse(*use))
    return dict(uses)
