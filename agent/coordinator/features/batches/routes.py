"""`/v1/files` and `/v1/batches`."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import StreamingResponse

from agent.coordinator.features.batches import batches, files
from agent.coordinator.features.batches.answers import (
    BatchObject,
    BatchObjects,
    FileDeleted,
    FileObject,
    FileObjects,
)
from agent.coordinator.features.client_apis.form import form_body
from agent.coordinator.features.client_apis.routes.declared import Call
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.routes._callers import Client, ContextOf, IdempotencyKey
from agent.coordinator.routes._declare import errors
from agent.core.errors import Conflict, InsufficientStorage, NotFound, RateLimitExceeded

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1", tags=["OpenAI-compatible"])

_BYTES: Final = {
    200: {
        "description": "The file, with its own media type",
        "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
    },
    **errors(NotFound),
}

FileId = Annotated[str, Path(max_length=64, examples=["file_1234567890"])]
BatchId = Annotated[str, Path(max_length=64, examples=["batch_1234567890"])]
After = Annotated[
    str | None,
    Query(alias="after", max_length=64, description="Continue after this id: `last_id` of the previous page"),
]


@router.post(
    "/files",
    responses=errors(Conflict, InsufficientStorage),
    openapi_extra=form_body(files.FileRequest),
    response_model_exclude_none=True,
    operation_id="files_create",
    summary="Upload a file",
)
async def upload(call: Call) -> FileObject:
    """The file becomes an artifact of the caller, and counts to the same quota. For a batch, the purpose is `batch`."""
    return await files.upload(call)


@router.get(
    "/files",
    responses=errors(Conflict),
    response_model_exclude_none=True,
    operation_id="files_list",
    summary="List files",
)
async def list_files(
    context: ContextOf,
    caller: Client,
    purpose: Annotated[
        str | None, Query(max_length=32, description="Only files with this purpose", examples=["batch"])
    ] = None,
    limit: Annotated[int, Query(ge=1, le=10_000, description="Maximum number of files")] = 1000,
    order: Annotated[
        Literal["asc", "desc"], Query(description="By the time of creation: oldest or newest first")
    ] = "desc",
    after_id: After = None,
) -> FileObjects:
    """Returns the files that were uploaded here, and the results of batches, by the time of their creation."""
    return await files.page(context, caller, purpose, limit, after_id, newest_first=order == "desc")


@router.get(
    "/files/{file_id}",
    responses=errors(NotFound, Conflict),
    response_model_exclude_none=True,
    operation_id="files_get",
    summary="A file",
)
async def get_file(context: ContextOf, caller: Client, file_id: FileId) -> FileObject:
    """Returns the description of a file."""
    return files.view(await files.find(context, caller, file_id))


@router.get(
    "/files/{file_id}/content",
    response_class=Response,
    responses=_BYTES,
    operation_id="files_content",
    summary="The content of a file",
)
async def content(context: ContextOf, caller: Client, file_id: FileId) -> Response:
    """Returns the bytes of a file."""
    record = await files.content_of(context, caller, file_id)
    headers = {
        "Content-Length": str(record.size),
        # Uploaded files must not act as pages of this origin.
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "X-Content-Type-Options": "nosniff",
    }
    chunks = await context.files.blobs.read(record.name_in_store, 0, record.size)
    return StreamingResponse(chunks, headers=headers, media_type=record.media_type)


@router.delete(
    "/files/{file_id}",
    responses=errors(NotFound, Conflict),
    operation_id="files_delete",
    summary="Delete a file",
)
async def delete_file(context: ContextOf, caller: Client, file_id: FileId) -> FileDeleted:
    """Deletes a file. A batch that has begun with it goes on. Answers 409 while an unfinished job needs the file."""
    return await files.delete(context, caller, file_id)


@router.post(
    "/batches",
    responses=errors(NotFound, Conflict, RateLimitExceeded),
    response_model_exclude_none=True,
    operation_id="batches_create",
    summary="Create a batch",
)
async def create_batch(
    context: ContextOf, caller: Client, body: batches.BatchCreation, key: IdempotencyKey = None
) -> BatchObject:
    """Sends each line of the file to the endpoint within a day, at the price and priority of batches. The results are files."""
    return await batches.create(context, caller, body, key)


@router.get(
    "/batches",
    responses=errors(Conflict),
    response_model_exclude_none=True,
    operation_id="batches_list",
    summary="List batches",
)
async def list_batches(
    context: ContextOf,
    caller: Client,
    limit: Annotated[int, Query(ge=1, le=100, description="Maximum number of batches")] = 20,
    after_id: After = None,
) -> BatchObjects:
    """Returns your batches, newest first."""
    return await batches.page(context, caller, limit, after_id)


@router.get(
    "/batches/{batch_id}",
    responses=errors(NotFound, Conflict),
    response_model_exclude_none=True,
    operation_id="batches_get",
    summary="A batch",
)
async def get_batch(context: ContextOf, caller: Client, batch_id: BatchId) -> BatchObject:
    """Returns the state of a batch, and the files of its results once it has ended."""
    return await batches.get(context, caller, batch_id)


@router.post(
    "/batches/{batch_id}/cancel",
    responses=errors(NotFound, Conflict),
    response_model_exclude_none=True,
    operation_id="batches_cancel",
    summary="Cancel a batch",
)
async def cancel_batch(context: ContextOf, caller: Client, batch_id: BatchId) -> BatchObject:
    """Begins no further lines. Jobs that run may end within ten minutes; then the batch is cancelled, with the results that there are."""
    return await batches.cancel(context, caller, batch_id)
