"""Signed links: whoever has one reads the artifact without a key until it expires, so that pages can show it."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.files import artifacts
from agent.coordinator.store import artifacts as store
from agent.coordinator.store.artifacts import ArtifactRecord
from agent.core.errors import Forbidden, NotFound, ValidationFailed
from agent.core.values.quantities import format_time

_PURPOSE: Final = b"artifact-link"


@dataclass(frozen=True, slots=True)
class Link:
    """What a link says. `expires` is seconds since the epoch; `media_type` how the artifact is served, None as it was stored."""

    artifact_id: str
    expires: int
    media_type: str | None


def link_to(
    context: Context, artifact_id: str, seconds: float | None = None, *, media_type: str | None = None
) -> str:
    """The path and query of a link that is valid for `seconds` (None: the setting). It does not look whether the artifact exists.

    Raises `ValidationFailed` for a longer time than the setting allows.
    """
    return _url(context, _new(context, artifact_id, seconds, media_type))


async def create(context: Context, caller: Caller, artifact_id: str, seconds: float | None) -> dict[str, str]:
    """A link to an artifact that the caller may read, as `{url, expires_at}`. Raises `NotFound`, `ValidationFailed`."""
    record = await artifacts.find(context, caller, artifact_id)
    link = _new(context, artifact_id, seconds, record.media_type)
    return {"url": _url(context, link), "expires_at": format_time(link.expires)}


async def follow(context: Context, link: Link, signature: str) -> ArtifactRecord:
    """The artifact that a link leads to. Raises `Forbidden` for a forged or expired link, `NotFound`."""
    if not hmac.compare_digest(_sign(context, link).encode(), signature.encode()):
        raise Forbidden("This link is not valid: it was changed on its way, or another coordinator made it.")
    if context.clock() >= link.expires:
        expired_at = format_time(link.expires)
        raise Forbidden(
            f"This link expired at {expired_at}; ask its owner for a new one.", {"expired_at": expired_at}
        )
    record = await context.database.read(store.find, link.artifact_id)
    if record is None:
        raise NotFound(f"There is no artifact {link.artifact_id}.", {"artifact_id": link.artifact_id})
    return ArtifactRecord(record.artifact_id, record.size, link.media_type or record.media_type)


def _new(context: Context, artifact_id: str, seconds: float | None, media_type: str | None) -> Link:
    longest = context.settings.max_link_seconds
    if seconds is None:
        seconds = min(context.settings.link_seconds, longest)
    elif seconds > longest:
        raise ValidationFailed(
            "The link would live too long.", {"seconds": f"at most {longest:g} seconds; ask again later"}
        )
    return Link(artifact_id, int(context.clock() + seconds), media_type)


def _url(context: Context, link: Link) -> str:
    query = {"expires": str(link.expires), "signature": _sign(context, link)}
    if link.media_type is not None:
        query["type"] = link.media_type
    return f"/v1/artifacts/{link.artifact_id}?{urlencode(query)}"


def _sign(context: Context, link: Link) -> str:
    """Keyed BLAKE2b (RFC 7693) over the link. Neither ids nor media types hold line breaks."""
    message = f"{link.artifact_id}\n{link.expires}\n{link.media_type or ''}".encode()
    return hashlib.blake2b(message, key=context.link_key, person=_PURPOSE, digest_size=32).hexdigest()
