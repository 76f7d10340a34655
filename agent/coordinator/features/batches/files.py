"""`/v1/files`: names under which an account's artifacts are known to OpenAI's clients."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from agent.coordinator.features.batches import store
from agent.coordinator.features.batches.answers import FileDeleted, FileObject, FileObjects
from agent.coordinator.features.batches.settings import BatchSettings
from agent.coordinator.features.batches.store import FileRecord
from agent.coordinator.features.client_apis.form import FILE, read_form
from agent.coordinator.features.client_apis.submission import ClientCall
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.files import artifacts
from agent.coordinator.operations.files.artifacts import ArtifactRecord
from agent.coordinator.store import locks
from agent.core.errors import Conflict, NotFound, PayloadTooLarge
from agent.core.values.file_names import clean_file_name
from agent.sections import section_of
from aitbc.answers.accounts import Role

BATCH: Final = "batch"
RESULTS: Final = "batch_output"
"""The purpose of the files that batches write."""
NO_NAME: Final = "file"

Purpose = Literal["assistants", "batch", "evals", "fine-tune", "user_data", "vision"]


class ExpiresAfter(BaseModel, defer_build=True):
    """When a file is deleted, in seconds after its creation; never without `seconds`."""

    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Field(ge=3600, le=2_592_000)] | None = None


class FileRequest(BaseModel, defer_build=True):
    """The fields beside the file."""

    model_config = ConfigDict(extra="forbid")

    purpose: Annotated[Purpose, Field(examples=["batch"])]
    expires_after: ExpiresAfter = ExpiresAfter()


async def upload(call: ClientCall) -> FileObject:
    """Store the file of the request's form as the caller's artifact, and name it.

    Raises `ValidationFailed` for the form, `PayloadTooLarge` beyond the quotas, and what storing raises.
    """
    context, account_id = call.context, call.caller.account_of("Files")
    await context.database.read(_check_count, context, account_id)
    request, files = await read_form(call, FileRequest, "send a file in this field")
    file = files[FILE]
    now, seconds = context.clock(), request.expires_after.seconds
    record = FileRecord(
        file_id=context.new_id("file"),
        account_id=account_id,
        artifact_id=file.artifact.artifact_id,
        name=clean_file_name(file.name) or NO_NAME,
        purpose=request.purpose,
        size=file.artifact.size,
        created_at=now,
        expires_at=None if seconds is None else now + seconds,
    )
    await context.database.write(_add, context, record)
    return view(record)


def _add(connection: Connection, context: Context, record: FileRecord) -> None:
    locks.account(connection, record.account_id)
    _check_count(connection, context, record.account_id)
    store.add_file(connection, record)


def _check_count(connection: Connection, context: Context, account_id: str) -> None:
    limit = section_of(context.settings, BatchSettings).max_files
    if store.file_count(connection, account_id) >= limit:
        raise PayloadTooLarge(
            f"You have {limit} files, which is the limit. Delete some that you no longer need.",
            {"limit": limit},
        )


async def page(
    context: Context,
    caller: Caller,
    purpose: str | None,
    limit: int,
    after_id: str | None,
    *,
    newest_first: bool,
) -> FileObjects:
    """Return a page of the caller's files."""
    records = await context.database.read(
        store.files_of,
        caller.account_of("Files"),
        purpose,
        limit + 1,
        after_id,
        newest_first=newest_first,
    )
    return FileObjects.of([view(record) for record in records], limit)


async def find(context: Context, caller: Caller, file_id: str) -> FileRecord:
    """Return a file of the caller. Raises `NotFound`."""
    record = await context.database.read(store.find_file, caller.account_of("Files"), file_id)
    if record is None:
        raise NotFound(
            f"There is no file {file_id[:100]!r}: it was deleted, has expired, or belongs to another account.",
            {"file_id": file_id[:100]},
        )
    return record


async def content_of(context: Context, caller: Caller, file_id: str) -> ArtifactRecord:
    """Return where the bytes of a file are. Raises `NotFound`."""
    return await artifacts.find(context, caller, (await find(context, caller, file_id)).artifact_id)


async def delete(context: Context, caller: Caller, file_id: str) -> FileDeleted:
    """Delete a file, and its bytes unless another file has the same. Raises `NotFound`, and `Conflict` while a job needs it."""
    record = await find(context, caller, file_id)
    await _delete(context, caller, record)
    return FileDeleted(id=file_id)


async def _delete(context: Context, caller: Caller, record: FileRecord) -> None:
    if await context.database.read(store.is_only_file, record):
        await artifacts.delete(context, caller, record.artifact_id)
    await context.database.write(store.drop_file, record.file_id)


async def delete_expired(context: Context) -> None:
    """Delete files that have expired, and the names of those whose artifacts were deleted."""
    for record in await context.database.read(store.expired_files, context.clock()):
        owner = Caller(Role.CLIENT, account_id=record.account_id)
        # The next time, when the job that needs it has ended.
        with suppress(Conflict, NotFound):
            await _delete(context, owner, record)
    await context.database.write(store.drop_lost_files)


def view(record: FileRecord) -> FileObject:
    """Return the answer that describes a file."""
    return FileObject(
        id=record.file_id,
        bytes=record.size,
        created_at=int(record.created_at),
        expires_at=None if record.expires_at is None else int(record.expires_at),
        filename=record.name,
        purpose=record.purpose,
    )
