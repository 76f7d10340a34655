"""`/v1/uploads`: resumable uploads, after the tus protocol 1.0.0."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from email.utils import formatdate
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Request, status
from fastapi.responses import Response
from pydantic import StringConstraints
from starlette.requests import ClientDisconnect

from agent.coordinator.operations import uploads as operations
from agent.coordinator.operations.uploads import Interrupted, Part, UploadRecord
from agent.coordinator.routes._answers import Upload
from agent.coordinator.routes._callers import Client, ContextOf
from agent.core import tus
from agent.core.errors import UnsupportedMediaType, UnsupportedVersion, ValidationFailed

router = APIRouter(prefix="/uploads", tags=["Uploads"])

Digits = Annotated[str, StringConstraints(pattern="^[0-9]{1,18}$")]
"""A number of bytes."""


def _speaks_tus(version: Annotated[str | None, Header(alias="Tus-Resumable")] = None) -> None:
    if version != tus.VERSION:
        raise UnsupportedVersion(
            f"Send the header Tus-Resumable: {tus.VERSION}, the version of tus spoken here."
        )


def _part(
    request: Request, checksum: Annotated[str | None, Header(alias="Upload-Checksum")] = None
) -> Part | None:
    """The part of a file that is the body, None where there is none. Raises `UnsupportedMediaType`, `UnsupportedChecksum`."""
    headers = request.headers
    length = headers.get("content-length")
    if headers.get("content-type") != tus.MEDIA_TYPE:
        if length in (None, "0") and "transfer-encoding" not in headers:
            return None
        raise UnsupportedMediaType(f"Send the file's bytes as Content-Type: {tus.MEDIA_TYPE}.")
    size = None if length is None else int(length)  # the server has refused what is no number
    return Part(_body(request), size, None if checksum is None else tus.parse_checksum(checksum))


async def _body(request: Request) -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect:
        raise Interrupted("The connection was lost.") from None


PartOf = Annotated[Part | None, Depends(_part)]
SpeaksTus = Depends(_speaks_tus)
PART_BODY: Final = {
    "requestBody": {"content": {tus.MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}}
}
"""For the OpenAPI document: the body is streamed and not a parameter."""


@router.options("", status_code=status.HTTP_204_NO_CONTENT, summary="What this server can do")
@router.options("/{upload_id}", status_code=status.HTTP_204_NO_CONTENT, include_in_schema=False)
async def options(context: ContextOf, _: Client) -> Response:
    """Version, extensions, checksums and largest size, in the headers that tus gives them."""
    return Response(
        status_code=status.HTTP_204_NO_CONTENT,
        headers={
            "Tus-Version": tus.VERSION,
            "Tus-Extension": ",".join(tus.EXTENSIONS),
            "Tus-Max-Size": str(context.settings.max_artifact),
            "Tus-Checksum-Algorithm": ",".join(tus.CHECKSUMS),
        },
    )


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    dependencies=[SpeaksTus],
    openapi_extra=PART_BODY,
    summary="Begin an upload",
)
async def create(
    context: ContextOf,
    caller: Client,
    request: Request,
    response: Response,
    part: PartOf,
    length: Annotated[Digits | None, Header(alias="Upload-Length")] = None,
    defer: Annotated[str | None, Header(alias="Upload-Defer-Length", pattern="^1$")] = None,
    metadata: Annotated[
        str, Header(alias="Upload-Metadata", description="`filename` and `filetype`, values in base64")
    ] = "",
) -> Upload:
    """`Location` says where to send the parts. The body may be the first part, or the whole file."""
    if (length is None) == (defer is None):
        raise ValidationFailed(
            "The upload's length is missing.",
            {"Upload-Length": "the file's size in bytes, or else Upload-Defer-Length: 1"},
        )
    size = None if length is None else int(length)
    upload = await operations.create(context, caller, length=size, metadata=metadata, part=part)
    response.headers.update(_headers(upload))
    response.headers["Location"] = f"{request.url.path}/{upload.upload_id}"
    return Upload(**operations.view(upload))


@router.head("/{upload_id}", response_class=Response, dependencies=[SpeaksTus], summary="Where to go on")
async def resume(context: ContextOf, caller: Client, upload_id: str) -> Response:
    """`Upload-Offset` is how much has arrived. A request that still sends to this upload is ended, so that this stays true."""
    upload = await operations.resume(context, caller, upload_id)
    headers = _headers(upload)
    if upload.metadata:
        headers["Upload-Metadata"] = upload.metadata
    return Response(headers=headers)


@router.get("/{upload_id}", summary="Look at an upload")
async def look(context: ContextOf, caller: Client, upload_id: str) -> Upload:
    """How far it is, and the artifact's id when it is finished. It disturbs nobody."""
    return Upload(**operations.view(await operations.look(context, caller, upload_id)))


@router.patch(
    "/{upload_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=[SpeaksTus],
    openapi_extra=PART_BODY,
    summary="Send a part",
)
async def append(
    context: ContextOf,
    caller: Client,
    upload_id: str,
    part: PartOf,
    offset: Annotated[Digits, Header(alias="Upload-Offset")],
    length: Annotated[Digits | None, Header(alias="Upload-Length")] = None,
) -> Response:
    """The last part's answer has `Upload-Artifact-Id`. What arrived before a connection broke counts, unless it has a checksum."""
    if part is None:
        raise UnsupportedMediaType(f"Send the file's bytes as Content-Type: {tus.MEDIA_TYPE}.")
    size = None if length is None else int(length)
    upload = await operations.append(context, caller, upload_id, int(offset), part, size)
    return Response(status_code=status.HTTP_204_NO_CONTENT, headers=_headers(upload))


@router.delete(
    "/{upload_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=[SpeaksTus],
    summary="Give an upload up",
)
async def terminate(context: ContextOf, caller: Client, upload_id: str) -> Response:
    """What arrived of it is dropped; the artifact of a finished one stays."""
    await operations.terminate(context, caller, upload_id)
    return Response(status_code=status.HTTP_204_NO_CONTENT)


def _headers(upload: UploadRecord) -> dict[str, str]:
    headers = {"Upload-Offset": str(upload.received), "Cache-Control": "no-store"}
    if upload.length is None:
        headers["Upload-Defer-Length"] = "1"
    else:
        headers["Upload-Length"] = str(upload.length)
    if upload.finished_at is None:
        headers["Upload-Expires"] = formatdate(upload.expires_at, usegmt=True)
    elif upload.artifact_id is not None:
        headers["Upload-Artifact-Id"] = upload.artifact_id
    return headers
