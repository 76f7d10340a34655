"""`/v1/artifacts`: content-addressed files."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Query, Request, status
from fastapi.responses import RedirectResponse, Response, StreamingResponse
from pydantic import Field
from starlette.datastructures import QueryParams
from starlette.types import Scope

from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.operations.callers import Caller, Session
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.files import artifacts, links
from agent.coordinator.routes._callers import (
    CLIENT_OR_SESSION,
    Client,
    ClientOrSession,
    ContextOf,
    RequestBody,
    announced_size,
)
from agent.coordinator.routes._declare import AUDIENCE, FILE_BODY, errors
from agent.core.errors import (
    Conflict,
    InsufficientStorage,
    NotFound,
    RangeNotSatisfiable,
    StaleLease,
)
from agent.core.values.media_types import clean_media_type
from aitbc.answers import fields
from aitbc.answers.files import Artifact, ArtifactLink

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1/artifacts", tags=["Artifacts"])

_ANY_BYTES: Final = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
_FILE: Final = {"description": "The file, with its own media type", "content": _ANY_BYTES}
_PART: Final = {
    "description": "The requested range",
    "content": _ANY_BYTES,
    "headers": {
        "Content-Range": {"required": True, "schema": {"type": "string"}, "example": "bytes 0-1023/1048576"}
    },
}
_ELSEWHERE: Final = {
    "description": "With `redirect=true`: the file is in the store of files, at `Location`",
    "headers": {"Location": {"required": True, "schema": {"type": "string", "format": "uri"}}},
}
_READING: Final = {200: _FILE, 206: _PART, 307: _ELSEWHERE, **errors(NotFound, RangeNotSatisfiable)}
_WITH_LINK: Final = {AUDIENCE: "callers who may read the file, and everybody with a signed link to it"}
SMALLEST_REDIRECTED: Final = 2**20
"""Bytes. A smaller file arrives sooner than the answer of a second server."""
_SMALL: Final = 64 * 2**10
"""Bytes that are sent at once. A stream costs more than reading them, since it waits for the client's disconnection too."""
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    responses=errors(Conflict, StaleLease, InsufficientStorage),
    openapi_extra=FILE_BODY,
    summary="Store a file",
)
async def create(
    context: ContextOf,
    who: ClientOrSession,
    request: Request,
    name: Annotated[
        str | None,
        Query(
            max_length=1000,
            description="The file's name, after which jobs are named",
            examples=["interview.mp3"],
        ),
    ] = None,
    job_id: Annotated[
        fields.JobId | None, Query(description="For miners: the job to which the file belongs")
    ] = None,
    fence: Annotated[
        int | None, Query(ge=1, le=2**53 - 1, description="For miners: the fence of the job's lease")
    ] = None,
) -> Artifact:
    """The body is the file, streamed; the artifact's id is its SHA-256. The space of a `Content-Length` is reserved before the first byte.

    A miner can store files only for a job whose lease it holds, which it names: `?job_id=...&fence=...`.
    """
    media_type = clean_media_type(request.headers.get("content-type"))
    size = announced_size(request)
    if isinstance(who, Caller):
        return await artifacts.save(context, who, media_type, request.stream(), size, name)
    lease = None if job_id is None or fence is None else (job_id, fence)
    return await artifacts.save_output(context, who, lease, media_type, request.stream(), size)


@router.delete(
    "/{artifact_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=errors(NotFound, Conflict),
    summary="Delete a file",
)
async def delete(context: ContextOf, caller: Client, artifact_id: fields.ArtifactId) -> None:
    """Deletes a file of your account: one that you stored, or an output of your jobs. It no longer counts towards your quota.

    Answers 409 while an unfinished job needs the file. Results and receipts that name it remain valid, since they contain its digest.
    Signed links to it stop working. The bytes are removed once no other account has the same file.
    """
    await artifacts.delete(context, caller, artifact_id)


class LinkRequest(RequestBody):
    """How long the link is valid; by default, as long as the coordinator's setting allows."""

    seconds: Annotated[float, Field(ge=1)] | None = Field(default=None, examples=[3600])


@router.post(
    "/{artifact_id}/links",
    status_code=status.HTTP_201_CREATED,
    responses=errors(NotFound),
    summary="Create a signed link",
)
async def create_link(
    context: ContextOf, caller: Client, artifact_id: fields.ArtifactId, request: LinkRequest | None = None
) -> ArtifactLink:
    """Anybody with the link can read the file, without a key, until the link expires."""
    seconds = request.seconds if request is not None else None
    return await links.create(context, caller, artifact_id, seconds)


async def _reader_of(context: Context, scope: Scope) -> Caller | Session | None:
    """Return the reader; None for a request with a link instead of a key."""
    if "signature" in QueryParams(scope["query_string"]):
        return None
    return await CLIENT_OR_SESSION.check(context, scope)


@router.head(
    "/{artifact_id}",
    response_class=Response,
    responses=_READING,
    openapi_extra=_WITH_LINK,
    name="head",
    summary="Read a file's headers",
)
@router.get(
    "/{artifact_id}",
    response_class=Response,
    responses=_READING,
    openapi_extra=_WITH_LINK,
    summary="Read a file",
)
async def read(
    context: ContextOf,
    reader: Annotated[Caller | Session | None, Depends(replace(CLIENT_OR_SESSION, check=_reader_of))],
    artifact_id: fields.ArtifactId,
    request: Request,
    requested: Annotated[
        str | None, Header(alias="Range", description="One byte range", examples=["bytes=0-1023"])
    ] = None,
    redirect: Annotated[
        bool, Query(description="Whether the answer may be a redirection to the store of files")
    ] = False,
    expires: Annotated[int, Query(description="Part of a signed link: its expiry")] = 0,
    signature: Annotated[
        str | None, Query(description="Part of a signed link: its signature, instead of a key")
    ] = None,
    media_type: Annotated[
        str | None, Query(alias="type", description="Part of a signed link: the media type of the answer")
    ] = None,
) -> Response:
    """The bytes as they were stored, or one range of them.

    With `redirect=true`, the answer may be a redirection to the store of files, with a URL that is valid for minutes.
    """
    if reader is None:
        record = await links.follow(
            context, links.SignedLink(artifact_id, expires, media_type), signature or ""
        )
    else:
        record = await artifacts.find(context, reader, artifact_id)
    # A small file is here sooner than the client would be there.
    elsewhere = redirect and record.size >= SMALLEST_REDIRECTED and request.method == "GET"
    if elsewhere and context.files.blobs.direct is not None:
        location = context.files.blobs.direct.download(record.name_in_store, record.media_type)
        return RedirectResponse(
            location, headers={"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
        )
    byte_range = parse_range(requested, record.size)
    partial = byte_range is not None
    start, length = byte_range or (0, record.size)
    headers = {
        "Content-Length": str(length),
        "Accept-Ranges": "bytes",
        "ETag": f'"{artifact_id}"',
        # Uploaded files must not act as pages of this origin.
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, max-age=31536000, immutable",
    }
    if partial:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{record.size}"
    code = status.HTTP_206_PARTIAL_CONTENT if partial else status.HTTP_200_OK
    if request.method == "HEAD":
        return Response(status_code=code, headers=headers, media_type=record.media_type)
    chunks = await context.files.blobs.read(record.name_in_store, start, length)
    # One message instead of several: for a small file the framework's streaming takes longer than the bytes.
    if length <= _SMALL:
        content = b"".join([chunk async for chunk in chunks])
        return Response(content, code, headers, media_type=record.media_type)
    return StreamingResponse(chunks, code, headers, media_type=record.media_type)


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the start and length of the one requested byte range; None for no range or one to be ignored (RFC 9110, 14.2).

    Raises `RangeNotSatisfiable` for a range outside the file.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first == "":
        start, end = max(0, size - int(last)), size - 1
    else:
        start, end = int(first), min(int(last), size - 1) if last else size - 1
    if last and first and int(last) < int(first):
        return None
    if start > end:
        raise RangeNotSatisfiable(f"The file has {size} bytes.", {"size": size})
    return start, end - start + 1
