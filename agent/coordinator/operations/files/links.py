"""Signed links, with which pages show an artifact without a key until the link expires."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlencode

from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.files.artifacts import find
from agent.coordinator.store import artifacts
from agent.coordinator.store.artifacts import ArtifactRecord
from agent.core.errors import Forbidden, NotFound, ValidationFailed
from agent.core.values.quantities import format_time
from aitbc.answers.files import ArtifactLink

_PURPOSE: Final = b"artifact-link"


@dataclass(frozen=True, slots=True)
class SignedLink:
    """The content of a link. `expires` is in seconds since the epoch; without a `media_type`, the stored one is served."""

    artifact_id: str
    expires: int
    media_type: str | None


def link_to(context: Context, artifact_id: str, *, media_type: str | None = None) -> str:
    """Return the path and query of a link that is valid as long as the setting allows, even if the artifact does not exist."""
    return _url(context, _new(context, artifact_id, None, media_type))


async def create(context: Context, caller: Caller, artifact_id: str, seconds: float | None) -> ArtifactLink:
    """Create a link to an artifact that the caller may read. Raises `NotFound`, `ValidationFailed`."""
    record = await find(context, caller, artifact_id)
    link = _new(context, artifact_id, seconds, record.media_type)
    return ArtifactLink(url=_url(context, link), expires_at=format_time(link.expires))


async def follow(context: Context, link: SignedLink, signature: str) -> ArtifactRecord:
    """Return the artifact of a link. Raises `Forbidden` for a forged or expired link, `NotFound`."""
    if not hmac.compare_digest(_sign(context, link).encode(), signature.encode()):
        raise Forbidden("This link is not valid: it was altered, or another coordinator made it.")
    if context.clock() >= link.expires:
        expired_at = format_time(link.expires)
        raise Forbidden(
            f"This link expired at {expired_at}. Ask the file's owner for a new one.",
            {"expired_at": expired_at},
        )
    record = await context.database.read(artifacts.find, link.artifact_id)
    if record is None:
        raise NotFound(f"There is no artifact {link.artifact_id}.", {"artifact_id": link.artifact_id})
    return replace(record, media_type=link.media_type or record.media_type, file_name=None)


def _new(context: Context, artifact_id: str, seconds: float | None, media_type: str | None) -> SignedLink:
    longest = context.settings.max_link_seconds
    if seconds is None:
        seconds = min(context.settings.link_seconds, longest)
    elif seconds > longest:
        raise ValidationFailed(
            "The link would be valid for too long.",
            {"seconds": f"at most {longest:g} seconds; make a new link when it has expired"},
        )
    return SignedLink(artifact_id, int(context.clock() + seconds), media_type)


def _url(context: Context, link: SignedLink) -> str:
    query = {"expires": str(link.expires), "signature": _sign(context, link)}
    if link.media_type is not None:
        query["type"] = link.media_type
    return f"/v1/artifacts/{link.artifact_id}?{urlencode(query)}"


def _sign(context: Context, link: SignedLink) -> str:
    """Return a keyed BLAKE2b (RFC 7693) of the link. Neither ids nor media types contain line breaks."""
    message = f"{link.artifact_id}\n{link.expires}\n{link.media_type or ''}".encode()
    return hashlib.blake2b(message, key=context.files.link_key, person=_PURPOSE, digest_size=32).hexdigest()
