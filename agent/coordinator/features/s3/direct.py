"""Files that clients and miners send to the store of blobs themselves, with signed URLs.

The bytes do not pass through the coordinator. It reserves their space, signs the requests, and records the file when the store has
it and its SHA-256 is proven: by the store itself for a file in one request, whose digest is part of the signature, or by reading
the file once. Nobody becomes the owner of a file by naming its digest.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Final

from pydantic import Field

from agent.coordinator import hooks
from agent.coordinator.blobs.store import Stored
from agent.coordinator.features.s3 import store
from agent.coordinator.features.s3.store import DirectUploadRecord
from agent.coordinator.features.s3.transfers import S3Transfers
from agent.coordinator.operations.callers import Caller, Session
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.files import quota, removal
from agent.coordinator.operations.files.artifacts import add_outputs, leases_for
from agent.coordinator.routes._callers import RequestBody
from agent.coordinator.store import artifacts, locks
from agent.coordinator.store.artifacts import ArtifactRecord
from agent.coordinator.store.run_outputs import StoredOutput
from agent.core.errors import (
    ChecksumMismatch,
    Conflict,
    NotFound,
    RateLimitExceeded,
    ServiceUnavailable,
    ValidationFailed,
)
from agent.core.values.file_names import clean_file_name
from agent.core.values.media_types import clean_media_type
from agent.core.values.quantities import format_time
from aitbc.answers import fields
from aitbc.answers.files import Artifact, DirectPart, DirectUpload

PART_SIZE: Final = 16 * 2**20
MOST_PARTS: Final = 9_000
"""S3 allows 10,000 parts."""
SIGNED_AT_ONCE: Final = 16
CHECK_SECONDS: Final = 60.0
"""How long a check is reserved for the replica that runs it, which extends this while it reads."""
WAIT_SECONDS: Final = 20.0
"""How long an answer waits for the check, which is enough for most files. Then the client asks again."""
ASK_AGAIN_SECONDS: Final = 1.0
EXPIRED_AT_ONCE: Final = 100

_checks: set[asyncio.Task[None]] = set()


Digest = Annotated[
    str,
    Field(
        pattern="^[0-9a-f]{64}$",
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    ),
]


class NewDirectUpload(RequestBody):
    """A file to come: its size in bytes and, if known, its SHA-256 (hex)."""

    size: int = Field(ge=0, le=2**53 - 1, examples=[1048576])
    sha256: Digest | None = None
    media_type: str | None = Field(default=None, max_length=255, examples=["video/mp4"])
    name: str | None = Field(default=None, max_length=1000, examples=["film.mp4"])
    in_parts: bool = Field(
        default=False, description="Whether to send the file in parts, so that it can be resumed"
    )
    job_id: fields.JobId | None = Field(
        default=None, description="For miners: the job to which the file belongs"
    )
    fence: int | None = Field(
        default=None, ge=1, le=2**53 - 1, description="For miners: the fence of the job's lease"
    )


def transfers(context: Context) -> S3Transfers:
    """Return the store's side of direct uploads. Raises `NotFound` if there is none."""
    direct = context.files.blobs.direct
    if not isinstance(direct, S3Transfers):
        raise NotFound("This coordinator stores files itself: send them to /v1/artifacts or /v1/uploads.")
    return direct


async def begin(context: Context, who: Caller | Session, file: NewDirectUpload) -> DirectUpload:
    """Reserve space for a file, and return its first requests. An interrupted upload of the same file continues.

    Raises `NotFound` if files cannot be sent to the store, `PayloadTooLarge`, `InsufficientStorage`, `RateLimitExceeded`, `StaleLease`.
    """
    direct = transfers(context)
    quota.check_size(context, file.size)
    is_miner = isinstance(who, Session)
    if is_miner and (file.job_id is None or file.fence is None):
        raise ValidationFailed(
            "A miner can store files only for a job that it runs.",
            {"job_id": "name the job and the fence of its lease"},
        )
    in_one_request = (
        direct.verifies_sha256
        and file.sha256 is not None
        and not file.in_parts
        and file.size <= direct.max_whole
    )
    blob = direct.new_name()
    record = DirectUploadRecord(
        upload_id=context.new_id("upload"),
        owner=_owner(who),
        job_id=file.job_id if is_miner else None,
        fence=file.fence if is_miner else None,
        size=file.size,
        sha256=file.sha256,
        media_type=clean_media_type(file.media_type),
        file_name=clean_file_name(file.name),
        blob=blob,
        # Outside the transaction, which must not wait for another server.
        multipart_id=None if in_one_request else await direct.begin(blob),
        part_size=max(1, file.size) if in_one_request else max(PART_SIZE, -(-file.size // MOST_PARTS)),
        etags={},
        state=store.RECEIVING,
        checked_until=None,
        expires_at=context.clock() + context.settings.upload_seconds,
    )
    try:
        reserved = await context.database.write(_reserve, context, who, record)
    # The store would otherwise keep the parts of an upload that nobody knows.
    except BaseException:
        await asyncio.shield(_abort(context, record))
        raise
    # An interrupted upload continues, so the new one is not needed.
    if reserved.upload_id != record.upload_id:
        await _abort(context, record)
    return _view(context, reserved)


def _reserve(
    connection: Connection, context: Context, who: Caller | Session, record: DirectUploadRecord
) -> DirectUploadRecord:
    """Store a new upload within its owner's limits. Return it, or an interrupted one of the same file, which continues."""
    interrupted = store.same(connection, record)
    if interrupted is not None and interrupted.expires_at > context.clock():
        return interrupted
    limit = context.settings.max_uploads_per_account
    if isinstance(who, Caller):
        budgets: tuple[quota.Budget, ...] = (quota.account_budget(context, record.owner),)
    else:
        lease = _lease_of(record)
        leases_for(connection, who, lease)
        budgets = quota.run_budgets(context, lease[0], who.miner_id)
    # Two uploads at the same time must not both use the rest of the quota.
    locks.storage(connection, record.owner)
    count = sum(count for count, _ in hooks.unfinished_uploads(connection, record.owner))
    if count >= limit:
        raise RateLimitExceeded(
            f"You have {limit} unfinished uploads, which is the limit. Finish or delete some."
        )
    for budget in budgets:
        budget.check(connection, record.size, context.files.space)
    store.add(connection, record)
    return record


def _owner(who: Caller | Session) -> str:
    return who.miner_id if isinstance(who, Session) else who.account_of("Artifacts")


def _lease_of(record: DirectUploadRecord) -> tuple[str, int]:
    if record.job_id is None or record.fence is None:
        raise ValidationFailed("This upload belongs to no lease.", {"upload_id": record.upload_id})
    return record.job_id, record.fence


async def find(context: Context, who: Caller | Session, upload_id: str) -> DirectUploadRecord:
    """Return the caller's upload. Raises `NotFound`, also for another owner's."""
    transfers(context)
    record = await context.database.read(store.find, upload_id)
    if (
        record is None
        or record.owner != _owner(who)
        or record.is_ended
        # An expired upload may be removed at any moment, so it counts as missing.
        or record.expires_at <= context.clock()
    ):
        raise NotFound(f"There is no upload {upload_id}.", {"upload_id": upload_id})
    return record


async def proceed(
    context: Context, who: Caller | Session, upload_id: str, etags: Mapping[int, str], sha256: str | None
) -> DirectUpload:
    """Record the stored parts, and return the next requests, or the artifact once all parts are stored and checked.

    May be repeated. Raises `NotFound`, `Conflict` if the store does not have what was reported, `ChecksumMismatch` if the file is
    another one than announced, `StaleLease`, `PayloadTooLarge`.
    """
    record = await find(context, who, upload_id)
    if any(not 1 <= number <= record.parts for number in etags):
        raise ValidationFailed("There is no such part.", {"parts": f"numbers from 1 to {record.parts}"})
    expires_at = context.clock() + context.settings.upload_seconds
    # Stored first: parts that were reported need not be sent again if the next step fails.
    reported = await context.database.write(store.report, upload_id, etags, sha256, expires_at)
    record = reported or record
    if len(record.etags) < record.parts:
        return _view(context, record)
    if record.state in {store.RECEIVING, store.CHECKING}:
        if record.sha256 is None:
            raise ValidationFailed(
                "The file's digest is missing.", {"sha256": "the file's SHA-256, 64 hex digits"}
            )
        await _check(context, record)
        record = await find(context, who, upload_id)
    if record.state == store.REFUSED:
        raise ChecksumMismatch(
            f"The store has another file than the one with the SHA-256 {record.sha256}; send it again."
        )
    if record.state == store.CHECKING:
        return _view(context, record)
    return await _recorded(context, who, record)


async def _check(context: Context, record: DirectUploadRecord) -> None:
    """Wait for the check of the file, and begin it unless another request or replica has."""
    now = context.clock()
    # Another replica checks the file. Reading it twice would only take longer.
    if not await context.database.write(store.claim_check, record.upload_id, now, now + CHECK_SECONDS):
        await asyncio.sleep(ASK_AGAIN_SECONDS)
        return
    task = asyncio.create_task(_check_and_report(context, record), name=f"check-{record.upload_id}")
    # The check of a large file takes longer than a request; a task without a reference might be collected.
    _checks.add(task)
    task.add_done_callback(_checks.discard)
    await asyncio.wait({task}, timeout=WAIT_SECONDS)
    if task.done():
        task.result()


async def _check_and_report(context: Context, record: DirectUploadRecord) -> None:
    """Make the parts one object, and check its size and digest. If this fails, the next request tries again."""
    claim = asyncio.create_task(_keep_claim(context, record), name=f"claim-{record.upload_id}")
    try:
        await _complete(context, record)
        matches = record.multipart_id is None or await _digest(context, record) == record.sha256
    except BaseException:
        claim.cancel()
        with suppress(ServiceUnavailable):
            # The claim ends now, so that the next request can check again without waiting for its time limit.
            await context.database.write(store.extend_check, record.upload_id, context.clock() - 1)
        raise
    claim.cancel()
    state = store.CHECKED if matches else store.REFUSED
    await context.database.write(store.set_state, record.upload_id, state)
    if not matches:
        await removal.discard(context)


async def _keep_claim(context: Context, record: DirectUploadRecord) -> None:
    while True:
        # Well before the claim ends, so that one slow write does not lose it.
        await asyncio.sleep(CHECK_SECONDS / 3)
        until = context.clock() + CHECK_SECONDS
        await context.database.write(store.extend_check, record.upload_id, until)


async def _complete(context: Context, record: DirectUploadRecord) -> None:
    """Make the parts one object. Raises `Conflict`, and deletes the upload, unless that has the announced size."""
    if record.multipart_id is not None:
        etags = [record.etags[number] for number in range(1, record.parts + 1)]
        try:
            await transfers(context).complete(record.blob, record.multipart_id, etags)
        except Conflict:
            await _remove(context, record)
            raise
    # The store does not check the size of a file, and the client might have sent less than it announced.
    size = await context.files.blobs.size(record.blob)
    if size != record.size:
        await _remove(context, record)
        raise Conflict(
            f"The store has {size or 0} bytes of this file instead of {record.size}. Begin the upload again.",
            {"size": size or 0},
        )


async def _digest(context: Context, record: DirectUploadRecord) -> str:
    digest = hashlib.sha256()
    async for piece in await context.files.blobs.read(record.blob, 0, record.size):
        # Hashing megabytes would hold up every other request.
        await asyncio.to_thread(digest.update, piece)
    return digest.hexdigest()


async def _recorded(context: Context, who: Caller | Session, record: DirectUploadRecord) -> DirectUpload:
    if record.state != store.STORED:
        await context.database.write(_record, context, who, record)
        await removal.discard_redundant(context, f"sha256:{record.sha256}", record.blob)
    return _view(context, record, stored=True)


def _record(
    connection: Connection, context: Context, who: Caller | Session, record: DirectUploadRecord
) -> None:
    """Make the checked file an artifact of its owner, whose reservation ends with that."""
    now = context.clock()
    # Two requests may report the end at the same time; only one may record the file.
    current = store.find(connection, record.upload_id, lock=True)
    if current is not None and current.state == store.STORED:
        return
    if current is None or current.state != store.CHECKED:
        raise NotFound(f"There is no upload {record.upload_id}.", {"upload_id": record.upload_id})
    stored = Stored(f"sha256:{record.sha256}", record.size, record.blob)
    store.set_state(connection, record.upload_id, store.STORED)
    if isinstance(who, Session):
        job_id, fence = lease = _lease_of(record)
        output = StoredOutput(job_id, stored.artifact_id, who.miner_id, fence, record.media_type)
        add_outputs(connection, who, lease, [output], stored, now)
        return
    artifact = ArtifactRecord(
        stored.artifact_id, stored.size, record.media_type, record.file_name, stored.name
    )
    artifacts.add(connection, artifact, record.owner, now)


async def terminate(context: Context, who: Caller | Session, upload_id: str) -> None:
    """Delete an upload and its parts. The artifact of a finished upload remains. Raises `NotFound`."""
    await _remove(context, await find(context, who, upload_id))


async def _remove(context: Context, record: DirectUploadRecord) -> None:
    """Delete an upload. One whose signed request may still store bytes reserves their space until that expires."""
    await _abort(context, record)
    # The client still has a signed URL. Until that expires, the file might be sent, so its space stays reserved.
    if record.multipart_id is None and record.state != store.STORED and not record.is_ended:
        until = context.clock() + transfers(context).url_seconds
        await context.database.write(store.end, record.upload_id, until)
    else:
        await context.database.write(store.remove, record)
    await removal.discard(context)


async def _abort(context: Context, record: DirectUploadRecord) -> None:
    direct = context.files.blobs.direct
    if isinstance(direct, S3Transfers) and record.multipart_id is not None and record.state != store.STORED:
        with suppress(ServiceUnavailable):  # the sweep of orphans aborts it
            await direct.abort(record.blob, record.multipart_id)


async def expire_due(context: Context) -> None:
    """Delete expired uploads."""
    for upload_id in await context.database.read(store.expired, context.clock(), EXPIRED_AT_ONCE):
        if (record := await context.database.read(store.find, upload_id)) is not None:
            await _remove(context, record)


def _view(context: Context, record: DirectUploadRecord, *, stored: bool = False) -> DirectUpload:
    direct = transfers(context)
    # URLs expire, so only the next few parts are signed.
    missing = [] if stored else [n for n in range(1, record.parts + 1) if n not in record.etags]
    parts = []
    for number in missing[:SIGNED_AT_ONCE]:
        size = record.size_of(number)
        if record.multipart_id is None:
            request = direct.upload_whole(record.blob, record.sha256 or "", size)
        else:
            request = direct.upload_part(record.blob, record.multipart_id, number, size)
        parts.append(
            DirectPart(
                number=number,
                offset=(number - 1) * record.part_size,
                size=size,
                method=request.method,
                url=request.url,
                headers=dict(request.headers),
            )
        )
    artifact = Artifact(artifact_id=f"sha256:{record.sha256}", size=record.size, media_type=record.media_type)
    return DirectUpload(
        upload_id=record.upload_id,
        state="stored" if stored else "checking" if not missing else "receiving",
        parts=parts,
        missing=len(missing),
        artifact=artifact if stored else None,
        expires_at=format_time(record.expires_at),
    )
