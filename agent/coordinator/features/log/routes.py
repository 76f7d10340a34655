"""`/v1/log`: the log in the format of https://c2sp.org/tlog-tiles, with this path as its prefix; open without a key."""

from __future__ import annotations

import asyncio
import gzip
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import PlainTextResponse, Response

from agent.coordinator.features.log import public
from agent.coordinator.features.log.answers import CheckpointCosigned
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.routes._callers import ContextOf
from agent.coordinator.routes._declare import errors
from agent.core.errors import Conflict, Forbidden, NotFound

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1/log", tags=["Log"])

_IMMUTABLE: Final = {"Cache-Control": "public, max-age=31536000, immutable"}
_FRESH: Final = {"Cache-Control": "no-cache"}
_BINARY: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
}
_CHECKPOINT: Final = "log.example.org\n1042\nYmFzZTY0X3Jvb3Q=\n\n\u2014 log.example.org Pxyasb64signature=\n"
_PROOF: Final = f"c2sp.org/tlog-proof@v1\nindex 1041\nYmFzZTY0X2hhc2g=\n\n{_CHECKPOINT}"
_NOTE: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "text/plain": {"schema": {"type": "string", "maxLength": 262_144}, "example": _CHECKPOINT}
        },
    }
}


def _text(description: str, example: str) -> dict[int | str, dict[str, Any]]:
    content = {"text/plain": {"schema": {"type": "string"}, "example": example}}
    return {200: {"description": description, "content": content}}


class _Bytes(Response):
    media_type = "application/octet-stream"


@router.get(
    "/checkpoint",
    response_class=PlainTextResponse,
    responses={**_text("A signed note", _CHECKPOINT), **errors(NotFound)},
    summary="The newest checkpoint",
)
async def checkpoint(
    context: ContextOf,
    cosigned: Annotated[
        int, Query(ge=0, le=100, description="Minimum number of witnesses that have cosigned it")
    ] = 0,
) -> PlainTextResponse:
    """Returns a signed note with the log's size and root, and the cosignatures of witnesses (c2sp.org/tlog-checkpoint)."""
    return PlainTextResponse(await public.checkpoint(context, cosigned), headers=_FRESH)


@router.get(
    "/tile/{path:path}",
    response_class=_Bytes,
    responses={**_BINARY, **errors(NotFound)},
    summary="Hashes or entries",
)
async def tile(
    context: ContextOf,
    path: Annotated[
        str,
        Path(
            description="`<L>/<N>[.p/<W>]` for hashes, `entries/<N>[.p/<W>]` for the leaves themselves",
            examples=["0/x001/067"],
        ),
    ],
    request: Request,
) -> Response:
    """Returns an immutable tile (c2sp.org/tlog-tiles): 256 hashes of a level, or 256 leaves with their lengths; fewer at the right edge."""
    content = await public.tile(context, f"tile/{path}")
    headers = dict(_IMMUTABLE)
    if path.startswith("entries/"):
        headers["Vary"] = "Accept-Encoding"
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            # Entries are JSON and shrink well. Without the time, every replica sends the same bytes.
            content = await asyncio.to_thread(gzip.compress, content, 6, mtime=0)
    return _Bytes(content, headers=headers)


@router.get(
    "/proof/{reference}",
    response_class=PlainTextResponse,
    responses={**_text("The proof", _PROOF), **errors(NotFound, Conflict)},
    summary="Proof that the log contains a receipt",
)
async def proof(
    context: ContextOf,
    reference: Annotated[
        str,
        Path(
            description="A receipt's id, or the id of a settled transaction", examples=["receipt_1234567890"]
        ),
    ],
) -> PlainTextResponse:
    """Returns a proof that can be verified offline (c2sp.org/tlog-proof). For a new receipt, the call waits for the next checkpoint."""
    return PlainTextResponse(await public.proof(context, reference), headers=_FRESH)


@router.post(
    "/cosignature", responses=errors(Forbidden, Conflict), openapi_extra=_NOTE, summary="Cosign a checkpoint"
)
async def cosign(context: ContextOf, request: Request) -> CheckpointCosigned:
    """For witnesses. The body is an unchanged checkpoint, followed by cosignature lines (c2sp.org/tlog-cosignature, Ed25519)."""
    return await public.cosign(context, await request.body())
