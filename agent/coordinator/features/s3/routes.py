"""`/v1/direct-uploads`: files that clients and miners send to the store of files themselves."""

from __future__ import annotations

from fastapi import APIRouter, status
from pydantic import Field

from agent.coordinator.features.s3 import direct
from agent.coordinator.features.s3.direct import Digest, NewDirectUpload
from agent.coordinator.features.s3.transfers import S3Transfers
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.routes._callers import ClientOrSession, ContextOf, RequestBody
from agent.coordinator.routes._declare import errors
from agent.core.errors import (
    ChecksumMismatch,
    Conflict,
    InsufficientStorage,
    NotFound,
    PayloadTooLarge,
    StaleLease,
)
from aitbc.answers import fields
from aitbc.answers.files import DirectTransferOffer, DirectUpload

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1/direct-uploads", tags=["Uploads"])


class StoredPart(RequestBody):
    """A part that the store has, with the ETag of its answer."""

    number: int = Field(ge=1, le=10_000, examples=[1])
    etag: str = Field(min_length=1, max_length=200, examples=['"5d41402abc4b2a76b9719d911017c592"'])


class StoredParts(RequestBody):
    """Parts that the store has, and the file's SHA-256 (hex) if it was not announced."""

    parts: list[StoredPart] = Field(default=[], max_length=1000)
    sha256: Digest | None = None


@router.get(
    "", operation_id="direct_uploads_offer", summary="Whether files can be sent to the store directly"
)
async def offer(context: ContextOf, _: ClientOrSession) -> DirectTransferOffer:
    """If not, the other calls answer 404, and files are sent to `/v1/artifacts` or `/v1/uploads`, as always possible."""
    transfers = context.files.blobs.direct
    if not isinstance(transfers, S3Transfers):
        return DirectTransferOffer(direct=False, max_whole=0)
    return DirectTransferOffer(direct=True, max_whole=transfers.max_whole if transfers.verifies_sha256 else 0)


@router.post(
    "",
    operation_id="direct_uploads_begin",
    status_code=status.HTTP_201_CREATED,
    responses=errors(NotFound, PayloadTooLarge, InsufficientStorage, StaleLease),
    summary="Begin an upload to the store",
)
async def begin(context: ContextOf, who: ClientOrSession, request: NewDirectUpload) -> DirectUpload:
    """Reserves the file's space, and returns signed requests with which its bytes go to the store, past the coordinator.

    Answers 404 if this coordinator stores files itself. The URLs can be used for some minutes.
    """
    return await direct.begin(context, who, request)


@router.post(
    "/{upload_id}/parts",
    operation_id="direct_uploads_proceed",
    responses=errors(NotFound, Conflict, ChecksumMismatch, PayloadTooLarge, StaleLease),
    summary="Report stored parts",
)
async def proceed(
    context: ContextOf, who: ClientOrSession, upload_id: fields.UploadId, request: StoredParts
) -> DirectUpload:
    """Returns the next requests, with new URLs for all that are not reported yet; then the artifact, once its digest is checked.

    While `state` is `checking`, repeat the call. It may be repeated at any time.
    """
    etags = {part.number: part.etag for part in request.parts}
    return await direct.proceed(context, who, upload_id, etags, request.sha256)


@router.delete(
    "/{upload_id}",
    operation_id="direct_uploads_terminate",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=errors(NotFound),
    summary="Terminate an upload to the store",
)
async def terminate(context: ContextOf, who: ClientOrSession, upload_id: fields.UploadId) -> None:
    """The stored parts are deleted. The artifact of a finished upload remains."""
    await direct.terminate(context, who, upload_id)
