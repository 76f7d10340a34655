"""Media types from strangers, made safe for the header of an answer."""

from __future__ import annotations

import re
from typing import Final

UNKNOWN: Final = "application/octet-stream"
_PLAIN: Final = re.compile(
    r"[a-z0-9][\w!#$&^.+-]{0,63}/[a-z0-9][\w!#$&^.+-]{0,63}(; ?[\w-]{1,32}=[\w.+-]{1,64}){0,3}",
    re.ASCII | re.IGNORECASE,
)


def clean_media_type(text: str | None) -> str:
    """Return the media type, or `application/octet-stream` if it is invalid (RFC 6838, with up to three plain parameters)."""
    return text if text is not None and _PLAIN.fullmatch(text) else UNKNOWN
