"""What the coordinator needs from a store of blobs: a directory, or what a feature opens.

A blob has a name that is never used again once the blob is removed. The database refers to blobs by their names, so no lock is
needed between the process that removes a blob and another that stores the same content: they have different names. A blob is
complete as soon as it exists. Its row in the database is written afterwards, so a crash may leave a blob without one.
"""

from __future__ import annotations

import re
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Sequence,
)
from dataclasses import dataclass
from typing import Final, Protocol

from agent.core.errors import InsufficientStorage, NotFound, PayloadTooLarge

CHUNK: Final = 1 << 20
BLOBS: Final = "blobs"
"""Prefix of the names of blobs in a `NamedBlobs`."""
ARTIFACT_ID: Final = re.compile(r"sha256:[0-9a-f]{64}")
_LEGACY: Final = re.compile(r"sha256:([0-9a-f]{2})([0-9a-f]{62})")
_LEGACY_PATH: Final = re.compile(r"([0-9a-f]{2})/([0-9a-f]{62})")

Cover = Callable[[int], Awaitable[None]]
"""Called before a file grows to the given number of bytes. Raises `ApiError` if that is not allowed."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored file: its artifact id, its size in bytes, and the name of its blob."""

    artifact_id: str
    size: int
    name: str


@dataclass(frozen=True, slots=True)
class Found:
    """A blob as the store lists it. `size` is in bytes, `modified` in seconds since the epoch."""

    name: str
    size: int
    modified: float


class DirectTransfers(Protocol):
    """Access to the store for clients and miners themselves. `origin` is the store's, as browsers write it."""

    origin: str

    def download(self, name: str, media_type: str) -> str:
        """Return the URL, valid for minutes, that reads a blob, with this media type in its answer."""


class BlobStore(Protocol):
    """Complete files. `direct` is None if only the coordinator can reach the store."""

    @property
    def direct(self) -> DirectTransfers | None:
        """How others exchange bytes with the store."""

    def open(self) -> None:
        """Check that the store can be used, blocking the calling thread. For the start. Raises `ConfigurationError`."""

    async def close(self) -> None:
        """Close connections."""

    async def store(self, chunks: AsyncIterable[bytes], cover: Cover | None = None) -> Stored:
        """Store a stream.

        Raises `PayloadTooLarge` beyond the size limit of artifacts, errors of `cover`, `InsufficientStorage` if the disk is full,
        and `ServiceUnavailable` if the store fails. Nothing is stored then.
        """

    async def read(self, name: str, start: int, length: int) -> AsyncIterator[bytes]:
        """Return an iterator over `length` bytes from `start`, in pieces. Raises `NotFound`, `ServiceUnavailable`."""

    async def size(self, name: str) -> int | None:
        """Return the size of a blob in bytes, or None if it does not exist."""

    async def remove(self, names: Sequence[str]) -> None:
        """Remove blobs. Those that do not exist are ignored. Raises `ServiceUnavailable`."""

    def listed(self) -> AsyncIterator[list[Found]]:
        """Yield all blobs, in batches. Raises `ServiceUnavailable`."""

    async def sweep(self, moment: float) -> int:
        """Remove what requests that began before `moment` left incomplete. Return the number. Raises `ServiceUnavailable`."""


class NamedBlobs(BlobStore, Protocol):
    """Complete files under names that the caller chooses."""

    async def store_as(self, name: str, chunks: AsyncIterable[bytes]) -> Stored:
        """Store a stream as the blob `name`, replacing it. Raises `ServiceUnavailable`."""

    async def put(self, name: str, data: bytes) -> None:
        """Store bytes as the blob `name`. Raises `ServiceUnavailable`."""


def path_of(name: str) -> str:
    """Return the path of a blob below its store. The name of a blob of versions before 0.3 is its artifact's id."""
    legacy = _LEGACY.fullmatch(name)
    return name if legacy is None else f"{legacy[1]}/{legacy[2]}"


def name_of(path: str) -> str:
    """Return the name of the blob with this path below its store."""
    legacy = _LEGACY_PATH.fullmatch(path)
    return path if legacy is None else f"sha256:{legacy[1]}{legacy[2]}"


async def bounded(chunks: AsyncIterable[bytes], limit: int, cover: Cover | None) -> AsyncIterator[bytes]:
    """Yield the chunks. Raises `PayloadTooLarge` beyond `limit` bytes, and errors of `cover`."""
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        # Before the chunk is passed on, so that a body of unknown length never takes more than its limit.
        if size > limit:
            raise PayloadTooLarge(f"An artifact may have at most {limit} bytes.", {"limit": limit})
        if cover is not None:
            await cover(size)
        yield chunk


def lost(name: str) -> NotFound:
    """Return the error for a blob that the database names, but the store does not have."""
    return NotFound(
        "The file is missing from the coordinator's store. Its operator can restore it.", {"blob": name}
    )


def disk_full() -> InsufficientStorage:
    """Return the error for a store without space."""
    return InsufficientStorage(
        "The coordinator's disk is full. Try again later, or ask the operator to free space."
    )
