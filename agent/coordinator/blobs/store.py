"""Content-addressed blobs in a directory: a blob that exists has the digest that it is named after.

A blob is written to a temporary file, hashed while written, synced, and renamed to `ab/cdef...`, so that every blob is complete.
Its row in the database is written afterwards, so a crash may leave a blob without one. Such blobs are removed when they are old.
Blocking file work runs in threads.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import tempfile
import threading
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from agent.core.errors import ApiError, InsufficientStorage, NotFound, PayloadTooLarge, ServiceUnavailable
from agent.fault_points import reach

CHUNK: Final = 1 << 20
ARTIFACT_ID: Final = re.compile(r"sha256:[0-9a-f]{64}")
_DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

Cover = Callable[[int], Awaitable[None]]
"""Called before a file grows to the given number of bytes. Raises `ApiError` if that is not allowed."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An artifact on disk. `size` is in bytes."""

    artifact_id: str
    size: int


class ArtifactDirectory:
    """Artifacts below one directory."""

    def __init__(self, root: Path, *, max_size: int) -> None:
        self._root = root
        self._incoming = root / "incoming"
        self._max_size = max_size
        # Held between checking a blob's existence or age and acting on it.
        self._names = threading.Lock()
        # Blobs whose rows are being written. Nothing refers to them yet, but they must not be removed.
        self._pinned: Counter[str] = Counter()

    def open(self) -> None:
        """Create the directory, and remove incomplete files that a crash left."""
        self._incoming.mkdir(parents=True, exist_ok=True)
        for incomplete in self._incoming.iterdir():
            incomplete.unlink()

    async def store(self, chunks: AsyncIterable[bytes], cover: Cover | None = None) -> Stored:
        """Store and pin a stream. Call `unpin` when its row is written, or will not be.

        Raises `PayloadTooLarge` beyond the size limit of artifacts, errors of `cover`, `InsufficientStorage` if the disk is full,
        and `ServiceUnavailable` if it fails. Nothing is stored then.
        """
        handle, name = await asyncio.to_thread(tempfile.mkstemp, dir=self._incoming)
        path = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                digest, size = await self._receive(chunks, file, cover)
            await asyncio.to_thread(self._publish, path, digest)
            return Stored(f"sha256:{digest}", size)
        except OSError as error:
            raise disk_error(error) from error
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def _receive(
        self, chunks: AsyncIterable[bytes], file: BinaryIO, cover: Cover | None
    ) -> tuple[str, int]:
        digest = hashlib.sha256()
        size = 0
        buffer = bytearray()
        async for chunk in chunks:
            size += len(chunk)
            if size > self._max_size:
                raise PayloadTooLarge(
                    f"An artifact may have at most {self._max_size} bytes.", {"limit": self._max_size}
                )
            if cover is not None:
                await cover(size)
            buffer += chunk
            if len(buffer) >= CHUNK:
                await asyncio.to_thread(_append, file, digest, bytes(buffer))
                buffer.clear()
        await asyncio.to_thread(_append, file, digest, bytes(buffer))
        await asyncio.to_thread(os.fsync, file.fileno())
        return digest.hexdigest(), size

    async def adopt(self, path: Path, artifact_id: str) -> None:
        """Move a synced file with that content here, and pin it. May be repeated. Raises `NotFound` if the file does not exist."""
        try:
            await asyncio.to_thread(self._publish, path, artifact_id.removeprefix("sha256:"))
        except FileNotFoundError:
            raise NotFound("The coordinator has lost what it received; send it again.") from None

    def _publish(self, path: Path, digest: str) -> None:
        reach("artifact.received")
        target = self._root / digest[:2] / digest[2:]
        with self._names:
            if target.exists():
                os.utime(target)  # it may have no row yet, and must not appear old
                path.unlink(missing_ok=True)
            else:
                os.utime(path)
                target.parent.mkdir(exist_ok=True)
                path.rename(target)
            self._pinned[f"sha256:{digest}"] += 1
        sync_directory(target.parent)
        sync_directory(self._root)
        reach("artifact.stored")

    def unpin(self, artifact_id: str) -> None:
        """Undo one pin of `store` or `adopt`."""
        with self._names:
            self._pinned[artifact_id] -= 1
            if self._pinned[artifact_id] <= 0:
                del self._pinned[artifact_id]

    def set_aside(self, artifact_id: str) -> Path | None:
        """Make a blob unreachable, unless it is pinned. Return the file to remove, or None if there is none."""
        digest = artifact_id.removeprefix("sha256:")
        aside = self._incoming / f"removed-{digest}"
        with self._names:
            if artifact_id in self._pinned:
                return None
            try:
                (self._root / digest[:2] / digest[2:]).rename(aside)
            except FileNotFoundError:
                return None
        return aside

    def older_than(self, moment: float) -> Iterator[str]:
        """Yield the ids of blobs that were last stored before `moment` (seconds since the epoch)."""
        for directory in self._root.glob("[0-9a-f][0-9a-f]"):
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.stat().st_mtime < moment:
                        yield f"sha256:{directory.name}{entry.name}"

    def remove_if_older(self, artifact_id: str, moment: float) -> bool:
        """Remove a blob, unless it was stored again since `moment`. Return whether it was removed."""
        path = self.path(artifact_id)
        with self._names:
            if path.stat().st_mtime >= moment or artifact_id in self._pinned:
                return False
            path.unlink()
        return True

    def path(self, artifact_id: str) -> Path:
        """Return the path of an artifact. Raises `NotFound` if it does not exist."""
        if ARTIFACT_ID.fullmatch(artifact_id) is None:
            raise NotFound(f"{artifact_id!r} is not an artifact id. An id looks like sha256:<64 hex digits>.")
        digest = artifact_id.removeprefix("sha256:")
        path = self._root / digest[:2] / digest[2:]
        if not path.is_file():
            raise NotFound(f"The artifact {artifact_id} does not exist.", {"artifact_id": artifact_id})
        return path

    async def read(self, artifact_id: str, start: int, length: int) -> AsyncIterator[bytes]:
        """Yield `length` bytes from `start`, in pieces."""
        file, chunk = await asyncio.to_thread(_open_at, self.path(artifact_id), start, min(CHUNK, length))
        with file:
            while chunk:
                yield chunk
                length -= len(chunk)
                chunk = await asyncio.to_thread(file.read, min(CHUNK, length)) if length > 0 else b""


def _open_at(path: Path, start: int, size: int) -> tuple[BinaryIO, bytes]:
    """Open a file at the position `start`, and read the first piece."""
    file = path.open("rb")
    file.seek(start)
    return file, file.read(size)


def _append(file: BinaryIO, digest: hashlib._Hash, data: bytes) -> None:
    reach("artifact.writing")
    file.write(data)
    file.flush()
    digest.update(data)


def disk_error(error: OSError) -> ApiError:
    """Return the answer to a request for an error of the disk."""
    if error.errno in _DISK_FULL:
        return InsufficientStorage(
            "The coordinator's disk is full. Try again later, or ask the operator to free space."
        )
    return ServiceUnavailable(f"The coordinator cannot store files now: {error.strerror}.")


def sync_directory(path: Path) -> None:
    """Make new and renamed entries of a directory durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
