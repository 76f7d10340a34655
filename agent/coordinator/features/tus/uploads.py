"""Resumable uploads, which continue after an interruption and become artifacts once complete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final

import structlog

from agent.coordinator.features.tus import store
from agent.coordinator.features.tus.headers import Checksum, UploadSegment, parse_metadata
from agent.coordinator.features.tus.store import UploadRecord
from agent.coordinator.features.tus.turns import TAKEN_OVER, GrowingUpload, Interrupted, UploadStore
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.files import quota, removal
from agent.coordinator.store import artifacts, locks
from agent.coordinator.store.artifacts import ArtifactRecord
from agent.core.errors import (
    Conflict,
    Locked,
    NotFound,
    PayloadTooLarge,
    RateLimitExceeded,
    ValidationFailed,
)
from agent.core.values.file_names import clean_file_name
from agent.core.values.media_types import clean_media_type
from agent.core.values.quantities import format_time
from aitbc.answers.accounts import Role
from aitbc.answers.files import Upload

EXPIRED_AT_ONCE: Final = 100
"""Uploads that one maintenance round removes."""
TURN_CHECK_SECONDS: Final = 2.0
"""Interval at which a request checks whether the client continues on another replica."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Part:
    """The body of one request. `size` is its announced length in bytes, if any."""

    chunks: AsyncGenerator[bytes, None]
    size: int | None
    checksum: Checksum | None


async def create(
    context: Context, caller: Caller, *, length: int | None, metadata: str, part: Part | None
) -> UploadRecord:
    """Begin an upload of `length` bytes (None: stated later), with its first part if there is one.

    Raises `PayloadTooLarge`, `RateLimitExceeded` for too many unfinished uploads, `ValidationFailed`, and as `append` does.
    """
    account_id = caller.account_of("Uploads")
    # Checked now: an upload that cannot become an artifact should fail before its bytes are sent.
    parse_metadata(metadata)
    quota.check_size(context, length or 0)
    now = context.clock()
    upload = UploadRecord(
        upload_id=context.new_id("upload"),
        account_id=account_id,
        length=length,
        received=0,
        metadata=metadata,
        artifact_id=None,
        created_at=now,
        expires_at=now + context.settings.upload_seconds,
        finished_at=None,
    )
    await context.database.write(_create, context, upload)
    if part is None and length != 0:
        return upload
    return await append(context, caller, upload.upload_id, 0, part or Part(_nothing(), 0, None))


async def _nothing() -> AsyncGenerator[bytes, None]:
    """The body of an empty file."""
    yield b""


def _create(connection: Connection, context: Context, upload: UploadRecord) -> None:
    limit = context.settings.max_uploads_per_account
    # Two uploads at the same time must not both use the rest of the quota.
    locks.storage(connection, upload.account_id)
    count, _ = store.unfinished(connection, upload.account_id)
    if count >= limit:
        raise RateLimitExceeded(
            f"You have {limit} unfinished uploads, which is the limit. Finish or delete some."
        )
    context.files.space.check_disk(upload.length or 0)
    _check_quota(connection, context, upload.account_id, upload.length or 0)
    store.add(connection, upload)


def _check_quota(connection: Connection, context: Context, account_id: str, size: int) -> None:
    """Check the quota for `size` bytes. An upload of known length is counted whole at once, so that its parts always fit."""
    quota.account_budget(context, account_id).check(connection, size, context.files.space)


async def find(context: Context, caller: Caller, upload_id: str) -> UploadRecord:
    """Return the upload as last recorded, without ending a request in progress. Raises `NotFound`, also for another owner's."""
    upload = await context.database.read(store.find, upload_id)
    mine = upload is not None and (caller.role is Role.ADMIN or upload.account_id == caller.account_id)
    if upload is None or not mine or upload.expires_at <= context.clock():
        raise NotFound(f"There is no upload {upload_id}.", {"upload_id": upload_id})
    return upload


@dataclass(frozen=True, slots=True)
class _Turn:
    """A request that may write to an upload. `number` counts the turns of all replicas."""

    upload: UploadRecord
    file: GrowingUpload
    number: int


@asynccontextmanager
async def _turn(context: Context, caller: Caller, upload_id: str) -> AsyncIterator[_Turn]:
    """End the request that still sends to the upload, on any replica, and become its only writer. Raises `NotFound`, `Locked`."""
    await find(context, caller, upload_id)  # only the owner may end a request in progress
    async with context.part(UploadStore).turn(upload_id) as file:
        # After the turn in this process: the number excludes the requests that other replicas still serve.
        number = await context.database.write(store.begin_turn, upload_id)
        turn = _Turn(await find(context, caller, upload_id), file, number or 0)
        yield replace(turn, upload=await _settled(context, turn.upload, file))


async def resume(context: Context, caller: Caller, upload_id: str) -> UploadRecord:
    """Return the upload for a client that continues it. A request that still sends to it is ended.

    Its bytes count if this replica received them, else those that it has recorded. Raises `NotFound`, `Locked`.
    """
    async with _turn(context, caller, upload_id) as turn:
        return turn.upload


async def append(
    context: Context, caller: Caller, upload_id: str, offset: int, part: Part, length: int | None = None
) -> UploadRecord:
    """Append a part that begins at `offset`; `length` states the upload's length if it was deferred.

    Raises `Conflict` if the upload is at another offset, `PayloadTooLarge`, `ChecksumMismatch`, `NotFound`, `Locked`, and
    `Interrupted` for a part that did not arrive whole.
    """
    async with _turn(context, caller, upload_id) as turn:
        upload = turn.upload
        if offset != upload.received:
            raise Conflict(
                f"The upload is at {upload.received}, not at {offset}. Send HEAD for the offset and continue from there.",
                {"offset": upload.received},
            )
        if length is not None:
            upload = await _with_length(context, upload, length)
        limit = context.settings.max_artifact if upload.length is None else upload.length
        # Refused before the bytes arrive, which saves the client from sending them.
        if part.size is not None and part.size > limit - offset:
            raise PayloadTooLarge("The body exceeds the upload's length.", {"limit": limit})
        if upload.finished_at is not None:
            return upload
        watch = asyncio.create_task(_watch(context, upload_id, turn.number), name="upload-turn")
        try:
            await _receive(context, replace(turn, upload=upload), part, limit - offset)
        finally:
            watch.cancel()
        return await _settled(context, await find(context, caller, upload_id), turn.file)


async def _watch(context: Context, upload_id: str, turn: int) -> None:
    """End the current request when another replica has taken over."""
    while await context.database.read(store.turn_of, upload_id) == turn:  # noqa: ASYNC110 - the replicas share only the database
        await asyncio.sleep(TURN_CHECK_SECONDS)
    context.part(UploadStore).interrupt(upload_id)


async def _with_length(context: Context, upload: UploadRecord, length: int) -> UploadRecord:
    if length < upload.received or upload.length not in (None, length):
        raise ValidationFailed(
            "The upload's length is not valid.",
            {"Upload-Length": "must be at least the bytes received, and cannot change once stated"},
        )
    quota.check_size(context, length)
    return await context.database.write(_set_length, context, upload, length)


def _set_length(connection: Connection, context: Context, upload: UploadRecord, length: int) -> UploadRecord:
    if upload.length is None:
        _check_quota(connection, context, upload.account_id, length - upload.received)
    store.set_length(connection, upload.upload_id, length)
    return _existing(connection, upload.upload_id)


def _existing(connection: Connection, upload_id: str) -> UploadRecord:
    upload = store.find(connection, upload_id)
    if upload is None:
        raise NotFound(f"There is no upload {upload_id}.", {"upload_id": upload_id})
    return upload


async def _receive(context: Context, turn: _Turn, part: Part, max_size: int) -> None:
    """Append a part of at most `max_size` bytes, and record the received bytes."""
    upload = turn.upload
    # An upload of known length reserved its space when it began.
    budgets = [] if upload.length is not None else [quota.account_budget(context, upload.account_id)]

    async with quota.reserving(context, budgets, part.size) as reservation:

        async def save(received: int, segments: Sequence[UploadSegment], sha256: str | None) -> None:
            artifact_id = f"sha256:{sha256}" if sha256 is not None and received == upload.length else None
            expires_at = context.clock() + context.settings.upload_seconds
            saved = await context.database.write(
                store.save, upload.upload_id, turn.number, received, artifact_id, expires_at, segments
            )
            # Another replica has begun a turn; what it wrote must not be overwritten.
            if not saved:
                raise Interrupted(TAKEN_OVER)
            reservation.recorded(received - upload.received)

        try:
            await turn.file.append(
                part.chunks,
                save,
                start=upload.received,
                limit=max_size,
                cover=reservation.cover,
                checksum=part.checksum,
            )
        except NotFound:  # the file is lost, so the upload cannot be completed
            await context.database.write(store.remove, upload.upload_id)
            raise


async def _settled(context: Context, upload: UploadRecord, file: GrowingUpload) -> UploadRecord:
    """Return the upload, and make it an artifact if it is complete. A crash may have come between the two."""
    if upload.length is None or upload.received != upload.length or upload.finished_at is not None:
        return upload
    if not upload.length and upload.artifact_id is None:  # the request with the empty file is still to come
        return upload
    segments = await context.database.read(store.segments_of, upload.upload_id)
    try:
        stored = await file.publish(upload.artifact_id, upload.length, segments)
    except NotFound:
        await context.database.write(store.remove, upload.upload_id)
        raise
    metadata = parse_metadata(upload.metadata)
    media_type, name = clean_media_type(metadata.get("filetype")), clean_file_name(metadata.get("filename"))
    record = ArtifactRecord(stored.artifact_id, stored.size, media_type, name, stored.name)
    finished = await context.database.write(_finish, context, upload, record)
    # The same file may be stored already; one copy is enough.
    await removal.discard_redundant(context, stored.artifact_id, stored.name)
    await removal.discard(context)
    context.part(UploadStore).forget(upload.upload_id)
    return finished


def _finish(
    connection: Connection, context: Context, upload: UploadRecord, record: ArtifactRecord
) -> UploadRecord:
    now = context.clock()
    store.finish(connection, upload.upload_id, record.artifact_id, now)
    # The quota has counted its length since it was stated.
    artifacts.add(connection, record, upload.account_id, now)
    return _existing(connection, upload.upload_id)


async def terminate(context: Context, caller: Caller, upload_id: str) -> None:
    """Delete an upload and its received bytes. The artifact of a finished upload remains. Raises `NotFound`, `Locked`."""
    await find(context, caller, upload_id)
    async with context.part(UploadStore).turn(upload_id):
        await context.database.write(store.remove, upload_id)
        await context.part(UploadStore).remove(upload_id)
        context.part(UploadStore).forget(upload_id)
    await removal.discard(context)


async def remove_orphans(context: Context) -> int:
    """Remove old files of uploads without a row, which a crash leaves. Return their number. See `removal.remove_orphans`."""
    if not await context.database.read(artifacts.any_artifact):
        return 0
    uploads, removed = context.part(UploadStore), 0
    upload_ids = await uploads.older_than(context.clock() - context.settings.orphan_seconds)
    # In batches, since a database limits the number of values in a query.
    for start in range(0, len(upload_ids), removal.BATCH):
        batch = upload_ids[start : start + removal.BATCH]
        orphans = set(batch) - await context.database.read(store.known, batch)
        for upload_id in orphans:
            await uploads.remove(upload_id)
        removed += len(orphans)
    if removed:
        log.warning("orphaned_files_removed", count=removed)
    return removed


async def expire_due(context: Context) -> None:
    """Delete expired uploads."""
    now = context.clock()
    for upload_id in await context.database.read(store.expired, now, EXPIRED_AT_ONCE):
        with suppress(Locked):  # the next round tries again
            async with context.part(UploadStore).turn(upload_id):
                if await context.database.write(store.remove_expired, upload_id, now):
                    await context.part(UploadStore).remove(upload_id)
                    context.part(UploadStore).forget(upload_id)
    await removal.discard(context)


def view(upload: UploadRecord) -> Upload:
    """Return the answer that describes an upload."""
    return Upload(
        upload_id=upload.upload_id,
        offset=upload.received,
        length=upload.length,
        filename=parse_metadata(upload.metadata).get("filename"),
        artifact_id=upload.artifact_id if upload.finished_at is not None else None,
        created_at=format_time(upload.created_at),
        expires_at=format_time(upload.expires_at),
    )
