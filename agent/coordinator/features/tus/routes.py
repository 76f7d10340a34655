"""`/v1/uploads`: resumable uploads by the tus protocol 1.0.0."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from email.utils import formatdate
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Request, status
from fastapi.responses import Response
from pydantic import StringConstraints
from starlette.requests import ClientDisconnect

from agent.coordinator.features.tus import uploads
from agent.coordinator.features.tus.errors import (
    UnsupportedChecksum,
    UnsupportedMediaType,
    UnsupportedVersion,
)
from agent.coordinator.features.tus.headers import CHECKSUMS, EXTENSIONS, MEDIA_TYPE, VERSION, parse_checksum
from agent.coordinator.features.tus.store import UploadRecord
from agent.coordinator.features.tus.turns import Interrupted
from agent.coordinator.features.tus.uploads import Part
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.routes._callers import Client, ContextOf
from agent.coordinator.routes._declare import body, errors, headers
from agent.core.errors import (
    ChecksumMismatch,
    Conflict,
    InsufficientStorage,
    Locked,
    NotFound,
    ValidationFailed,
)
from aitbc.answers import fields
from aitbc.answers.files import Upload

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1/uploads", tags=["Uploads"])

Digits = Annotated[str, StringConstraints(pattern="^[0-9]{1,18}$")]
"""A number of bytes."""

_PART_ERRORS: Final = (
    Conflict, ChecksumMismatch, UnsupportedChecksum, UnsupportedMediaType, Locked, InsufficientStorage,
)  # fmt: skip
_STATE: Final = headers(
    Upload_Offset="Bytes received",
    Upload_Length="Size of the file in bytes, if known",
    Upload_Defer_Length="1 while the size is unknown",
    Upload_Expires="When the unfinished upload is deleted",
    Upload_Artifact_Id="The artifact of a finished upload",
)
_CAPABILITIES: Final = headers(
    Tus_Version="Supported versions of tus",
    Tus_Extension="Supported extensions of tus",
    Tus_Max_Size="Maximum size of a file in bytes",
    Tus_Checksum_Algorithm="Algorithms supported in Upload-Checksum",
)


async def _require_tus(
    version: Annotated[
        str | None, Header(alias="Tus-Resumable", description="The version of tus, 1.0.0", examples=["1.0.0"])
    ] = None,
) -> None:
    if version != VERSION:
        raise UnsupportedVersion(f"Send the header Tus-Resumable: {VERSION}, the supported version of tus.")


async def _part(
    request: Request,
    checksum: Annotated[
        str | None,
        Header(
            alias="Upload-Checksum",
            description="Checksum of the body",
            examples=["sha256 n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg="],
        ),
    ] = None,
) -> Part | None:
    """Return the part in the body; None without a body. Raises `UnsupportedMediaType`, `UnsupportedChecksum`."""
    request_headers = request.headers
    length = request_headers.get("content-length")
    if request_headers.get("content-type") != MEDIA_TYPE:
        # A request without a body has no media type either.
        if length in (None, "0") and "transfer-encoding" not in request_headers:
            return None
        raise UnsupportedMediaType(f"Send the file's bytes as Content-Type: {MEDIA_TYPE}.")
    size = None if length is None else int(length)  # the server refuses values that are not numbers
    return Part(_body(request), size, None if checksum is None else parse_checksum(checksum))


async def _body(request: Request) -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in request.stream():
            yield chunk
    # What has arrived is retained, so that the client can continue after it.
    except ClientDisconnect:
        raise Interrupted("The connection was lost.") from None


PartOf = Annotated[Part | None, Depends(_part)]
RequiresTus = Depends(_require_tus)


@router.options(
    "",
    operation_id="uploads_options",
    status_code=204,
    responses={204: {"headers": _CAPABILITIES}},
    summary="Capabilities of this server",
)
async def options(context: ContextOf, _: Client) -> Response:
    """Returns the version, extensions, checksums and maximum size in the headers of tus."""
    return _capabilities(context)


@router.options(
    "/{upload_id}",
    operation_id="uploads_options_of_upload",
    status_code=204,
    responses={204: {"headers": _CAPABILITIES}},
    summary="Capabilities of this server for an upload",
)
async def options_of_upload(context: ContextOf, _: Client, upload_id: fields.UploadId) -> Response:  # noqa: ARG001 - any
    """Returns the same headers for any upload id."""
    return _capabilities(context)


def _capabilities(context: ContextOf) -> Response:
    return Response(
        status_code=status.HTTP_204_NO_CONTENT,
        headers={
            "Tus-Version": VERSION,
            "Tus-Extension": ",".join(EXTENSIONS),
            "Tus-Max-Size": str(context.settings.max_artifact),
            "Tus-Checksum-Algorithm": ",".join(CHECKSUMS),
        },
    )


@router.post(
    "",
    operation_id="uploads_create",
    status_code=status.HTTP_201_CREATED,
    dependencies=[RequiresTus],
    responses={
        201: {"headers": {**_STATE, **headers(Location="The path for the upload's parts")}},
        **errors(UnsupportedVersion, *_PART_ERRORS),
    },
    openapi_extra=body(MEDIA_TYPE, required=False),
    summary="Begin an upload",
)
async def create(
    context: ContextOf,
    caller: Client,
    request: Request,
    response: Response,
    part: PartOf,
    length: Annotated[
        Digits | None, Header(alias="Upload-Length", description="Size of the file in bytes")
    ] = None,
    defer: Annotated[
        str | None,
        Header(
            alias="Upload-Defer-Length",
            pattern="^1$",
            description="Instead of `Upload-Length`: the size is stated later",
        ),
    ] = None,
    metadata: Annotated[
        str, Header(alias="Upload-Metadata", description="`filename` and `filetype`, values in base64")
    ] = "",
) -> Upload:
    """`Location` is the path for the parts. The body may be the first part, or the whole file."""
    # The protocol demands exactly one of them.
    if (length is None) == (defer is None):
        raise ValidationFailed(
            "The upload's length is missing.",
            {"Upload-Length": "the file's size in bytes, or else Upload-Defer-Length: 1"},
        )
    size = None if length is None else int(length)
    upload = await uploads.create(context, caller, length=size, metadata=metadata, part=part)
    response.headers.update(_headers(upload))
    response.headers["Location"] = f"{request.url.path}/{upload.upload_id}"
    return uploads.view(upload)


@router.head(
    "/{upload_id}",
    operation_id="uploads_resume",
    response_class=Response,
    dependencies=[RequiresTus],
    responses={200: {"headers": _STATE}, **errors(NotFound, UnsupportedVersion)},
    summary="Resume an upload",
)
async def resume(context: ContextOf, caller: Client, upload_id: fields.UploadId) -> Response:
    """`Upload-Offset` is the number of bytes received. A request that still sends to this upload is ended, so the offset does not change."""
    upload = await uploads.resume(context, caller, upload_id)
    answer_headers = _headers(upload)
    if upload.metadata:
        answer_headers["Upload-Metadata"] = upload.metadata
    return Response(headers=answer_headers)


@router.get(
    "/{upload_id}", operation_id="uploads_get", responses=errors(NotFound), summary="Status of an upload"
)
async def get(context: ContextOf, caller: Client, upload_id: fields.UploadId) -> Upload:
    """Returns the offset, and the artifact's id once the upload is finished. Does not end a request in progress."""
    return uploads.view(await uploads.find(context, caller, upload_id))


@router.patch(
    "/{upload_id}",
    operation_id="uploads_append",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=[RequiresTus],
    responses={204: {"headers": _STATE}, **errors(NotFound, UnsupportedVersion, *_PART_ERRORS)},
    openapi_extra=body(MEDIA_TYPE, required=True),
    summary="Send a part",
)
async def append(
    context: ContextOf,
    caller: Client,
    upload_id: fields.UploadId,
    part: PartOf,
    offset: Annotated[
        Digits, Header(alias="Upload-Offset", description="Where the part begins: the bytes received so far")
    ],
    length: Annotated[
        Digits | None,
        Header(alias="Upload-Length", description="Size of the file in bytes, if it was deferred"),
    ] = None,
) -> Response:
    """The answer to the last part has `Upload-Artifact-Id`. Bytes received before a connection broke count, unless the part has a checksum."""
    if part is None:
        raise UnsupportedMediaType(f"Send the file's bytes as Content-Type: {MEDIA_TYPE}.")
    size = None if length is None else int(length)
    upload = await uploads.append(context, caller, upload_id, int(offset), part, size)
    return Response(status_code=status.HTTP_204_NO_CONTENT, headers=_headers(upload))


@router.delete(
    "/{upload_id}",
    operation_id="uploads_terminate",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=[RequiresTus],
    responses=errors(NotFound, UnsupportedVersion, Locked),
    summary="Terminate an upload",
)
async def terminate(context: ContextOf, caller: Client, upload_id: fields.UploadId) -> Response:
    """The received bytes are deleted. The artifact of a finished upload remains."""
    await uploads.terminate(context, caller, upload_id)
    return Response(status_code=status.HTTP_204_NO_CONTENT)


def _headers(upload: UploadRecord) -> dict[str, str]:
    answer_headers = {"Upload-Offset": str(upload.received), "Cache-Control": "no-store"}
    if upload.length is None:
        answer_headers["Upload-Defer-Length"] = "1"
    else:
        answer_headers["Upload-Length"] = str(upload.length)
    if upload.finished_at is None:
        answer_headers["Upload-Expires"] = formatdate(upload.expires_at, usegmt=True)
    elif upload.artifact_id is not None:
        answer_headers["Upload-Artifact-Id"] = upload.artifact_id
    return answer_headers
