"""The headers of the tus protocol for resumable uploads, version 1.0.0 (https://tus.io/protocols/resumable-upload)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agent.coordinator.features.tus.errors import UnsupportedChecksum
from agent.core.errors import ValidationFailed

VERSION: Final = "1.0.0"
MEDIA_TYPE: Final = "application/offset+octet-stream"
EXTENSIONS: Final = (
    "creation", "creation-with-upload", "creation-defer-length", "termination", "checksum", "expiration",
)  # fmt: skip
CHECKSUMS: Final[dict[str, Callable[[], hashlib._Hash]]] = {"sha256": hashlib.sha256, "sha1": hashlib.sha1}
"""The protocol requires SHA-1, which detects transmission errors as well as any other."""
MAX_METADATA: Final = 4096
"""Maximum length of `Upload-Metadata` in characters."""

_KEY: Final = re.compile(r"[!-+\--~]{1,255}")


@dataclass(frozen=True, slots=True)
class UploadSegment:
    """Bytes of an unfinished upload, from `start`, that are a blob of their own. `size` is in bytes."""

    start: int
    size: int
    name: str


@dataclass(frozen=True, slots=True)
class Checksum:
    """The digest that the bytes of one request must have."""

    algorithm: str
    digest: bytes


def parse_checksum(header: str) -> Checksum:
    """Read `Upload-Checksum`. Raises `UnsupportedChecksum`."""
    algorithm, _, value = header.strip().partition(" ")
    if algorithm not in CHECKSUMS:
        raise UnsupportedChecksum(
            f"Upload-Checksum: use one of {', '.join(CHECKSUMS)}.", {"algorithms": list(CHECKSUMS)}
        )
    digest = _decoded(value.strip())
    if digest is None or len(digest) != CHECKSUMS[algorithm]().digest_size:
        raise UnsupportedChecksum(f"Upload-Checksum: {algorithm} must be followed by the digest in base64.")
    return Checksum(algorithm, digest)


def parse_metadata(header: str) -> dict[str, str]:
    """Read `Upload-Metadata`: pairs of a key and a base64 value. Replaces bytes that are not UTF-8. Raises `ValidationFailed`."""
    if len(header) > MAX_METADATA:
        raise _bad_metadata(f"at most {MAX_METADATA} characters")
    pairs: dict[str, str] = {}
    for pair in header.split(",") if header.strip() else ():
        key, _, value = pair.strip().partition(" ")
        decoded = _decoded(value.strip())
        if _KEY.fullmatch(key) is None or decoded is None:
            raise _bad_metadata("each pair is a key of printable ASCII, a space, and a value in base64")
        if key in pairs:
            raise _bad_metadata(f"the key {key} appears twice")
        # Metadata is only shown to people, so wrong characters are no reason to refuse a file.
        pairs[key] = decoded.decode(errors="replace")
    return pairs


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _bad_metadata(reason: str) -> ValidationFailed:
    return ValidationFailed("The upload's metadata cannot be read.", {"Upload-Metadata": reason})
