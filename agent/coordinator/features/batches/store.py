"""The rows of files and batches."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, delete, exists, func, insert, select, update

from agent.coordinator.features.batches.states import ENDED, BatchStatus
from agent.coordinator.features.batches.tables import api_files, batch_parts, batches
from agent.coordinator.store import artifacts, records
from agent.coordinator.store.schema.tables import artifact_owners

AT_ONCE: Final = 100
"""Rows that one transaction deletes."""


class TakenOver(Exception):
    """Another worker has begun with the batch, or it has ended."""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file of an account. `size` is in bytes, times are seconds since the epoch."""

    file_id: str
    account_id: str
    artifact_id: str
    name: str
    purpose: str
    size: int
    created_at: float
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class ApiBatch:
    """A batch as stored. `turn` is that of the worker that has begun with it last; `moments` is JSON of the times of its states."""

    batch_id: str
    account_id: str
    key_id: str
    status: BatchStatus
    endpoint: str
    input_file_id: str
    input_artifact: str
    metadata: str | None
    output_seconds: float | None
    created_at: float
    expires_at: float
    turn: int = 0
    total: int = 0
    completed: int = 0
    failed: int = 0
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: str | None = None
    moments: str = "{}"
    ended_at: float | None = None

    def moment(self, status: BatchStatus) -> int | None:
        """Return when it entered a state."""
        entered = json.loads(self.moments).get(status)
        return None if entered is None else int(entered)


_FILE: Final = records.columns(api_files, FileRecord)
_BATCH: Final = records.columns(batches, ApiBatch)


def add_file(connection: Connection, record: FileRecord) -> None:
    """Store a file's row."""
    connection.execute(insert(api_files), records.values(record))


def file_count(connection: Connection, account_id: str) -> int:
    """Return how many files an account has."""
    query = select(func.count()).select_from(api_files).where(api_files.c.account_id == account_id)
    return int(connection.execute(query).scalar_one())


def find_file(connection: Connection, account_id: str, file_id: str) -> FileRecord | None:
    """Return a file of the account whose bytes exist."""
    query = select(*_FILE).where(
        api_files.c.account_id == account_id, api_files.c.file_id == file_id, _has_bytes()
    )
    return records.find(connection, FileRecord, query)


def files_of(
    connection: Connection,
    account_id: str,
    purpose: str | None,
    limit: int,
    after_id: str | None,
    *,
    newest_first: bool,
) -> list[FileRecord]:
    """Return a page of the files of an account."""
    key = api_files.c.file_id
    conditions = [api_files.c.account_id == account_id, _has_bytes()]
    if purpose is not None:
        conditions.append(api_files.c.purpose == purpose)
    if after_id is not None:
        conditions.append(key < after_id if newest_first else key > after_id)
    query = select(*_FILE).where(*conditions).order_by(key.desc() if newest_first else key).limit(limit)
    return records.find_all(connection, FileRecord, query)


def _has_bytes() -> ColumnElement[bool]:
    """Return the condition that a file's artifact was not deleted as such."""
    return exists().where(
        artifact_owners.c.artifact_id == api_files.c.artifact_id,
        artifact_owners.c.owner == api_files.c.account_id,
    )


def is_only_file(connection: Connection, record: FileRecord) -> bool:
    """Return whether no other file of the account has the same bytes."""
    same_bytes = (
        api_files.c.account_id == record.account_id,
        api_files.c.artifact_id == record.artifact_id,
        api_files.c.file_id != record.file_id,
    )
    return connection.execute(select(api_files.c.file_id).where(*same_bytes).limit(1)).first() is None


def drop_file(connection: Connection, file_id: str) -> None:
    """Delete a file's row."""
    connection.execute(delete(api_files).where(api_files.c.file_id == file_id))


def drop_lost_files(connection: Connection) -> None:
    """Delete some of the rows whose artifacts were deleted as such."""
    lost = select(api_files.c.file_id).where(~_has_bytes()).limit(AT_ONCE)
    connection.execute(delete(api_files).where(api_files.c.file_id.in_(lost)))


def expired_files(connection: Connection, now: float) -> list[FileRecord]:
    """Return some of the files that have expired."""
    query = (
        select(*_FILE).where(api_files.c.expires_at <= now).order_by(api_files.c.expires_at).limit(AT_ONCE)
    )
    return records.find_all(connection, FileRecord, query)


def add_batch(connection: Connection, record: ApiBatch) -> None:
    """Store a new batch."""
    connection.execute(insert(batches), records.values(record))


def unfinished_of(connection: Connection, account_id: str) -> int:
    """Return how many batches of an account have not ended."""
    query = (
        select(func.count())
        .select_from(batches)
        .where(batches.c.account_id == account_id, batches.c.ended_at.is_(None))
    )
    return int(connection.execute(query).scalar_one())


def unfinished(connection: Connection) -> list[tuple[str, str]]:
    """Return the ids and the accounts of the batches that have not ended, oldest first."""
    query = select(batches.c.batch_id, batches.c.account_id).where(batches.c.ended_at.is_(None))
    return [(row[0], row[1]) for row in connection.execute(query.order_by(batches.c.batch_id))]


def find_batch(connection: Connection, batch_id: str, *, lock: bool = False) -> ApiBatch | None:
    """Return a batch."""
    query = select(*_BATCH).where(batches.c.batch_id == batch_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else _batch(row)


def batches_of(connection: Connection, account_id: str, limit: int, after_id: str | None) -> list[ApiBatch]:
    """Return a page of the batches of an account, newest first."""
    query = select(*_BATCH).where(batches.c.account_id == account_id)
    if after_id is not None:
        query = query.where(batches.c.batch_id < after_id)
    return [_batch(row) for row in connection.execute(query.order_by(batches.c.batch_id.desc()).limit(limit))]


def _batch(row: Iterable[Any]) -> ApiBatch:
    values = dict(zip((field.name for field in fields(ApiBatch)), row, strict=True))
    return ApiBatch(**{**values, "status": BatchStatus(values["status"])})


def take(connection: Connection, batch_id: str) -> ApiBatch:
    """Begin to work on a batch: earlier workers can write nothing from now on. Raises `TakenOver` if it has ended."""
    record = find_batch(connection, batch_id, lock=True)
    if record is None or record.ended_at is not None:
        raise TakenOver
    return save(connection, record, turn=record.turn + 1)


def own(connection: Connection, batch: ApiBatch) -> ApiBatch:
    """Return the newest state of a batch, locked. Raises `TakenOver` if another worker has begun with it."""
    record = find_batch(connection, batch.batch_id, lock=True)
    if record is None or record.turn != batch.turn or record.ended_at is not None:
        raise TakenOver
    return record


def save(connection: Connection, record: ApiBatch, **values: Any) -> ApiBatch:
    """Store changes of a batch. The caller has locked it."""
    connection.execute(update(batches).where(batches.c.batch_id == record.batch_id).values(**values))
    changed = records.values(record) | values
    return ApiBatch(**changed)


def enter(
    connection: Connection, record: ApiBatch, status: BatchStatus, now: float, **values: Any
) -> ApiBatch:
    """Store the next state of a batch, with its time and other changes. The caller has locked it."""
    moments: Mapping[str, float] = {**json.loads(record.moments), status.value: now}
    ended_at = now if status in ENDED else None
    return save(connection, record, status=status, moments=json.dumps(moments), ended_at=ended_at, **values)


@dataclass(frozen=True, slots=True)
class AnswersPart:
    """Answers of an unfinished batch: the artifact that has them, and the numbers of their lines."""

    artifact_id: str
    lines: Sequence[int]


def parts_of(connection: Connection, batch_id: str) -> list[AnswersPart]:
    """Return the parts of a batch in their order."""
    query = select(batch_parts.c.artifact_id, batch_parts.c.lines).where(batch_parts.c.batch_id == batch_id)
    rows = connection.execute(query.order_by(batch_parts.c.number))
    return [AnswersPart(artifact_id, json.loads(lines)) for artifact_id, lines in rows]


def add_part(connection: Connection, batch_id: str, part: AnswersPart) -> None:
    """Store the next part of a batch. The caller has locked it."""
    last = select(func.max(batch_parts.c.number)).where(batch_parts.c.batch_id == batch_id)
    number = (connection.execute(last).scalar_one_or_none() or 0) + 1
    values = {
        "batch_id": batch_id, "number": number, "artifact_id": part.artifact_id, "lines": json.dumps(list(part.lines)),
    }  # fmt: skip
    connection.execute(insert(batch_parts), values)


def release(connection: Connection, record: ApiBatch) -> None:
    """Give up the bytes that belong to a batch: its input and its parts."""
    names = {part.artifact_id for part in parts_of(connection, record.batch_id)} | {record.input_artifact}
    for artifact_id in sorted(names):
        artifacts.disown(connection, artifact_id, record.batch_id)
    connection.execute(delete(batch_parts).where(batch_parts.c.batch_id == record.batch_id))


def delete_old(connection: Connection, ended_before: float) -> int:
    """Delete some batches that ended before this time. Return how many."""
    old_ids = select(batches.c.batch_id).where(batches.c.ended_at < ended_before).limit(AT_ONCE)
    return connection.execute(delete(batches).where(batches.c.batch_id.in_(old_ids))).rowcount
