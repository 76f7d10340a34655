"""Resumable uploads: their owners, and how much of each is on disk. `agent.coordinator.blobs` has the bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select, update

from agent.coordinator.features.tus.headers import UploadSegment
from agent.coordinator.features.tus.tables import upload_segments, uploads
from agent.coordinator.store import blobs


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """An upload. `length` is None until the client announces it; `received` is the number of bytes stored.

    `turn` is the number of requests that have written to it. `artifact_id` is set when all bytes are received, `finished_at` when the artifact is stored. Times are seconds since the epoch.
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
    turn: int = 0


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


def begin_turn(connection: Connection, upload_id: str) -> int | None:
    """Begin a request's turn, which ends that of any other replica. Return its number, or None if the upload does not exist."""
    # The number grows with each request, so that an older one finds out that it was overtaken.
    mine = uploads.c.upload_id == upload_id
    if connection.execute(update(uploads).where(mine).values(turn=uploads.c.turn + 1)).rowcount == 0:
        return None
    return int(connection.execute(select(uploads.c.turn).where(mine)).scalar_one())


def turn_of(connection: Connection, upload_id: str) -> int | None:
    """Return the number of the newest turn, or None if the upload does not exist."""
    turn: int | None = connection.execute(
        select(uploads.c.turn).where(uploads.c.upload_id == upload_id)
    ).scalar_one_or_none()
    return turn


def save(
    connection: Connection,
    upload_id: str,
    turn: int,
    received: int,
    artifact_id: str | None,
    expires_at: float,
    segments: Sequence[UploadSegment] = (),
) -> bool:
    """Store how many bytes are stored, with new segments. With `artifact_id`, the digest of all bytes is known.

    Segments beyond `received` are dropped. Returns False, without a change, if `turn` is over.
    """
    mine = (uploads.c.upload_id == upload_id, uploads.c.turn == turn)
    values = {"received": received, "artifact_id": artifact_id, "expires_at": expires_at}
    if connection.execute(update(uploads).where(*mine).values(values)).rowcount == 0:
        return False
    # Segments beyond the length belong to a body that was refused.
    _drop(connection, upload_id, received)
    if segments:
        rows = [
            {"upload_id": upload_id, "start": segment.start, "size": segment.size, "blob": segment.name}
            for segment in segments
        ]
        connection.execute(insert(upload_segments), rows)
    return True


def segments_of(connection: Connection, upload_id: str) -> list[UploadSegment]:
    """Return the segments of an upload in their order."""
    query = select(upload_segments.c.start, upload_segments.c.size, upload_segments.c.blob).where(
        upload_segments.c.upload_id == upload_id
    )
    return [UploadSegment(*row) for row in connection.execute(query.order_by(upload_segments.c.start))]


def _drop(connection: Connection, upload_id: str, start: int) -> None:
    """Delete the segments from `start` on, and mark their blobs for removal."""
    dropped = (upload_segments.c.upload_id == upload_id, upload_segments.c.start >= start)
    blobs.mark_removed(
        connection, list(connection.execute(select(upload_segments.c.blob).where(*dropped)).scalars())
    )
    connection.execute(delete(upload_segments).where(*dropped))


def finish(connection: Connection, upload_id: str, artifact_id: str, now: float) -> None:
    """Record that the artifact is stored, and mark the upload's segments for removal."""
    values = {"artifact_id": artifact_id, "finished_at": now}
    connection.execute(update(uploads).where(uploads.c.upload_id == upload_id).values(values))
    _drop(connection, upload_id, 0)


def remove(connection: Connection, upload_id: str) -> None:
    """Delete the upload, and mark its segments for removal."""
    _drop(connection, upload_id, 0)
    connection.execute(delete(uploads).where(uploads.c.upload_id == upload_id))


def remove_expired(connection: Connection, upload_id: str, now: float) -> bool:
    """Delete the upload if it has expired. Return whether it had."""
    query = select(uploads.c.upload_id).where(uploads.c.upload_id == upload_id, uploads.c.expires_at <= now)
    if connection.execute(query).first() is None:
        return False
    remove(connection, upload_id)
    return True


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
