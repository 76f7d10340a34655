"""`/v1/batches`: the use cases of clients. `worker` does the work."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, field_validator

from agent.coordinator.features.batches import files, store
from agent.coordinator.features.batches.answers import (
    BatchError,
    BatchErrors,
    BatchObject,
    BatchObjects,
    RequestCounts,
)
from agent.coordinator.features.batches.middleware import BatchSender
from agent.coordinator.features.batches.settings import BatchSettings
from agent.coordinator.features.batches.states import ENDED, BatchStatus
from agent.coordinator.features.batches.store import ApiBatch
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.files.artifacts import ArtifactRecord
from agent.coordinator.routes._callers import RequestBody
from agent.coordinator.store import artifacts, idempotency, locks
from agent.core.errors import Conflict, NotFound, RateLimitExceeded, invalid_request
from agent.sections import section_of
from aitbc.canonical import canonical_json, sha256_hex

WINDOW_SECONDS: Final = 86_400.0
"""How long a batch may take: as long as idempotency keys are stored, by which a line finds its job after a crash."""
RETRY_SECONDS: Final = 60

MetadataText = Annotated[str, Field(max_length=512)]


class ResultsExpire(RequestBody):
    """When the files of results are deleted, in seconds after their creation."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=3600, le=2_592_000, examples=[86400])]


class BatchCreation(RequestBody):
    """A new batch."""

    input_file_id: Annotated[str, Field(max_length=64, examples=["file_1234567890"])]
    endpoint: Annotated[str, Field(max_length=200, examples=["/v1/chat/completions"])]
    completion_window: Annotated[Literal["24h"], Field(examples=["24h"])]
    metadata: (
        Annotated[dict[Annotated[str, Field(max_length=64)], MetadataText], Field(max_length=16)] | None
    ) = None
    output_expires_after: ResultsExpire | None = None

    @field_validator("endpoint")
    @classmethod
    def _without_prefix(cls, value: str) -> str:
        return value.removeprefix("/api")


async def create(context: Context, caller: Caller, request: BatchCreation, key: str | None) -> BatchObject:
    """Accept a batch. With an idempotency `key`, a repeated request gets the first answer.

    Raises `NotFound` for the file, `ValidationFailed`, `RateLimitExceeded` for too many unfinished batches, and `Conflict` for a key of
    another request.
    """
    account_id = caller.account_of("Batches")
    endpoints = context.part(BatchSender).endpoints
    if request.endpoint not in endpoints:
        raise invalid_request({"endpoint": f"must be one of {', '.join(endpoints)}"})
    file = await files.find(context, caller, request.input_file_id)
    if file.purpose != files.BATCH:
        problem = f"the purpose of the file is {file.purpose}; upload it with the purpose {files.BATCH}"
        raise invalid_request({"input_file_id": problem})
    limit = section_of(context.settings, BatchSettings).max_batch_file
    if file.size > limit:
        problem = f"the file has {file.size} bytes; a batch may have at most {limit}, so divide it"
        raise invalid_request({"input_file_id": problem})
    now, expiry = context.clock(), request.output_expires_after
    record = ApiBatch(
        batch_id=context.new_id("batch"),
        account_id=account_id,
        key_id=caller.key_id,
        status=BatchStatus.VALIDATING,
        endpoint=request.endpoint,
        input_file_id=file.file_id,
        input_artifact=file.artifact_id,
        metadata=None if request.metadata is None else json.dumps(request.metadata),
        output_seconds=None if expiry is None else float(expiry.seconds),
        created_at=now,
        expires_at=now + WINDOW_SECONDS,
    )
    readable = await files.content_of(context, caller, file.file_id)
    return await context.database.write(
        _create, context, record, readable, key, request.model_dump(mode="json")
    )


def _create(
    connection: Connection,
    context: Context,
    record: ApiBatch,
    file: ArtifactRecord,
    key: str | None,
    request: Mapping[str, Any],
) -> BatchObject:
    locks.account(connection, record.account_id)
    digest = sha256_hex(canonical_json({"batch": request}))
    if key is not None and (first := idempotency.find(connection, record.account_id, key)) is not None:
        if first[0] != digest:
            raise Conflict("This Idempotency-Key was used for another request; use a new one.")
        return BatchObject.model_validate_json(first[1])
    limit = section_of(context.settings, BatchSettings).max_batches
    if store.unfinished_of(connection, record.account_id) >= limit:
        raise RateLimitExceeded(
            f"You have {limit} unfinished batches, which is the limit. Wait for one to end, or cancel one.",
            retry_after=RETRY_SECONDS,
        )
    answer = view(record)
    store.add_batch(connection, record)
    # The input may be deleted meanwhile: until the end, its bytes belong to the batch as well.
    artifacts.add(connection, file, record.batch_id, record.created_at)
    if key is not None:
        idempotency.add(
            connection,
            record.account_id,
            key,
            request_sha256=digest,
            answer=answer.model_dump_json(),
            now=record.created_at,
        )
    return answer


async def get(context: Context, caller: Caller, batch_id: str) -> BatchObject:
    """Return a batch of the caller. Raises `NotFound`."""
    return view(_own(await context.database.read(store.find_batch, batch_id), caller, batch_id))


async def page(context: Context, caller: Caller, limit: int, after_id: str | None) -> BatchObjects:
    """Return a page of the caller's batches, newest first."""
    records = await context.database.read(store.batches_of, caller.account_of("Batches"), limit + 1, after_id)
    return BatchObjects.of([view(record) for record in records], limit)


async def cancel(context: Context, caller: Caller, batch_id: str) -> BatchObject:
    """Begin no further lines. Repeating it changes nothing. Raises `NotFound`, and `Conflict` for a batch that has ended."""
    return view(await context.database.write(_cancel, caller, batch_id, context.clock()))


def _cancel(connection: Connection, caller: Caller, batch_id: str, now: float) -> ApiBatch:
    record = _own(store.find_batch(connection, batch_id, lock=True), caller, batch_id)
    if record.status in (BatchStatus.CANCELLING, BatchStatus.CANCELLED):
        return record
    if record.status in (*ENDED, BatchStatus.FINALIZING):
        raise Conflict(
            f"Batch {batch_id} is {record.status} and cannot be cancelled.", {"status": record.status.value}
        )
    return store.enter(connection, record, BatchStatus.CANCELLING, now)


def _own(record: ApiBatch | None, caller: Caller, batch_id: str) -> ApiBatch:
    if record is None or record.account_id != caller.account_of("Batches"):
        raise NotFound(
            f"There is no batch {batch_id[:100]!r}, or it belongs to another account.",
            {"batch_id": batch_id[:100]},
        )
    return record


def view(record: ApiBatch) -> BatchObject:
    """Return the answer that describes a batch."""
    errors = None
    if record.errors is not None:
        errors = BatchErrors(data=[BatchError(**error) for error in json.loads(record.errors)])
    return BatchObject(
        id=record.batch_id,
        endpoint=record.endpoint,
        errors=errors,
        input_file_id=record.input_file_id,
        status=record.status,
        output_file_id=record.output_file_id,
        error_file_id=record.error_file_id,
        created_at=int(record.created_at),
        expires_at=int(record.expires_at),
        **{f"{status}_at": int(entered_at) for status, entered_at in json.loads(record.moments).items()},
        request_counts=RequestCounts(total=record.total, completed=record.completed, failed=record.failed),
        metadata=None if record.metadata is None else json.loads(record.metadata),
    )
