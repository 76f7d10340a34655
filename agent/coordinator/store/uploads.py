"""Resumable uploads: their owners, and how much of each is on disk. `agent.coordinator.blobs.resumable` has the bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select, update

from agent.coordinator.store.schema.tables import uploads


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """An upload. `length` is None until the client announces it; `received` is the number of bytes on disk.

    `artifact_id` is set when all bytes are received, `finished_at` when the artifact is stored. Times are seconds since the epoch.
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
    """Store a new upload."""
    values = {column.name: getattr(record, column.name) for column in uploads.columns}
    connection.execute(insert(uploads), values)


def find(connection: Connection, upload_id: str) -> UploadRecord | None:
    """Return the upload with this id, or None."""
    row = connection.execute(select(uploads).where(uploads.c.upload_id == upload_id)).first()
    return None if row is None else UploadRecord(**row._mapping)  # noqa: SLF001 - the public name of SQLAlchemy's rows


def set_length(connection: Connection, upload_id: str, length: int) -> None:
    """Store the length that the client has announced later."""
    connection.execute(update(uploads).where(uploads.c.upload_id == upload_id).values(length=length))


def save(
    connection: Connection, upload_id: str, received: int, artifact_id: str | None, expires_at: float
) -> None:
    """Store how many bytes are on disk. With `artifact_id`, the upload is complete."""
    values = {"received": received, "artifact_id": artifact_id, "expires_at": expires_at}
    connection.execute(update(uploads).where(uploads.c.upload_id == upload_id).values(values))


def finish(connection: Connection, upload_id: str, now: float) -> None:
    """Record that the artifact is stored."""
    connection.execute(update(uploads).where(uploads.c.upload_id == upload_id).values(finished_at=now))


def remove(connection: Connection, upload_id: str) -> None:
    """Delete the upload."""
    connection.execute(delete(uploads).where(uploads.c.upload_id == upload_id))


def remove_expired(connection: Connection, upload_id: str, now: float) -> bool:
    """Delete the upload if it has expired. Return whether it had."""
    query = delete(uploads).where(uploads.c.upload_id == upload_id, uploads.c.expires_at <= now)
    return connection.execute(query).rowcount > 0


def unfinished(connection: Connection, account_id: str) -> tuple[int, int]:
    """Return the number of the account's unfinished uploads and their total length, using received bytes if it is unknown."""
    query = select(
        func.count(), func.coalesce(func.sum(func.coalesce(uploads.c.length, uploads.c.received)), 0)
    ).where(uploads.c.account_id == account_id, uploads.c.finished_at.is_(None))
    count, size = connection.execute(query).one()
    return count, int(size)


def expired(connection: Connection, now: float, limit: int) -> list[str]:
    """Return the ids of expired uploads, the longest expired first."""
    query = select(uploads.c.upload_id).where(uploads.c.expires_at <= now).order_by(uploads.c.expires_at)
    return list(connection.execute(query.limit(limit)).scalars())


def known(connection: Connection, upload_ids: Sequence[str]) -> set[str]:
    """Return those of these uploads that exist."""
    query = select(uploads.c.upload_id).where(uploads.c.upload_id.in_(upload_ids))
    return set(connection.execute(query).scalars())
