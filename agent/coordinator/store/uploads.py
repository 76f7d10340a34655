"""Resumable uploads: whose they are, and how much of each is on disk. The bytes are in `agent.coordinator.blobs.resumable`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select, update

from agent.coordinator.store.schema.tables import uploads


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """An upload. `length` is None while the client has not told it, `received` the bytes that are on disk.

    `artifact_id` is there once all bytes are, `finished_at` once the artifact is stored. Times are seconds since the epoch.
    """

    upload_id: str
    account_id: str
    length: int | None
    received: int
    metadata: str
    artifact_id: str | None
    created_at: float
    expires_at: float
    finished_at: float | None


def add(connection: Connection, record: UploadRecord) -> None:
    """A new upload."""
    values = {column.name: getattr(record, column.name) for column in uploads.columns}
    connection.execute(insert(uploads), values)


def find(connection: Connection, upload_id: str) -> UploadRecord | None:
    """The upload with this id."""
    row = connection.execute(select(uploads).where(uploads.c.upload_id == upload_id)).first()
    return None if row is None else UploadRecord(**row._mapping)  # noqa: SLF001 - the public name of SQLAlchemy's rows


def set_length(connection: Connection, upload_id: str, length: int) -> None:
    """Note the length, which the client did not know when it began."""
    connection.execute(update(uploads).where(uploads.c.upload_id == upload_id).values(length=length))


def save(
    connection: Connection, upload_id: str, received: int, artifact_id: str | None, expires_at: float
) -> None:
    """Note how much is on disk; with `artifact_id`, that this is all."""
    values = {"received": received, "artifact_id": artifact_id, "expires_at": expires_at}
    connection.execute(update(uploads).where(uploads.c.upload_id == upload_id).values(values))


def finish(connection: Connection, upload_id: str, now: float) -> None:
    """Note that the artifact is stored."""
    connection.execute(update(uploads).where(uploads.c.upload_id == upload_id).values(finished_at=now))


def remove(connection: Connection, upload_id: str) -> None:
    """Forget the upload."""
    connection.execute(delete(uploads).where(uploads.c.upload_id == upload_id))


def remove_expired(connection: Connection, upload_id: str, now: float) -> bool:
    """Forget the upload if its time is over. Whether it was."""
    query = delete(uploads).where(uploads.c.upload_id == upload_id, uploads.c.expires_at <= now)
    return connection.execute(query).rowcount > 0


def unfinished(connection: Connection, account_id: str) -> tuple[int, int]:
    """How many unfinished uploads the account has, and how many bytes they are to have (have, where that is unknown)."""
    query = select(
        func.count(), func.coalesce(func.sum(func.coalesce(uploads.c.length, uploads.c.received)), 0)
    ).where(uploads.c.account_id == account_id, uploads.c.finished_at.is_(None))
    count, size = connection.execute(query).one()
    return count, int(size)


def expired(connection: Connection, now: float, limit: int) -> list[str]:
    """Ids of uploads whose time is over, the longest first."""
    query = select(uploads.c.upload_id).where(uploads.c.expires_at <= now).order_by(uploads.c.expires_at)
    return list(connection.execute(query.limit(limit)).scalars())


def known(connection: Connection, upload_ids: Sequence[str]) -> set[str]:
    """Which of these uploads there are."""
    query = select(uploads.c.upload_id).where(uploads.c.upload_id.in_(upload_ids))
    return set(connection.execute(query).scalars())
