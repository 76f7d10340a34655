"""Content-addressed bytes in a directory: what is stored under a digest has that digest, or is not there.

A blob is written to a temporary file, hashed on the way, synced, and renamed to `ab/cdef...`; a name that exists is
complete. Blocking file work runs in threads.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import tempfile
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from agent.core.errors import NotFound, PayloadTooLarge, ServiceUnavailable

CHUNK: Final = 1 << 20
ARTIFACT_ID: Final = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Stored:
    """An artifact that is on disk. `size` is bytes."""

    artifact_id: str
    size: int


class ArtifactDirectory:
    """Artifacts below one directory."""

    def __init__(self, root: Path, *, max_size: int) -> None:
        self._root = root
        self._incoming = root / "incoming"
        self._max_size = max_size

    def open(self) -> None:
        """Make the directory and remove what a crash left half written."""
        self._incoming.mkdir(parents=True, exist_ok=True)
        for left_over in self._incoming.iterdir():
            left_over.unlink()

    async def store(self, chunks: AsyncIterable[bytes]) -> Stored:
        """Store a stream. Raises `PayloadTooLarge` beyond the limit, `ServiceUnavailable` when the disk is full.

        Nothing is kept then.
        """
        handle, name = await asyncio.to_thread(tempfile.mkstemp, dir=self._incoming)
        path = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                digest, size = await self._receive(chunks, file)
            return await asyncio.to_thread(self._keep, path, digest, size)
        except OSError as error:
            raise ServiceUnavailable(f"The coordinator cannot store files now: {error.strerror}.") from error
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def _receive(self, chunks: AsyncIterable[bytes], file: BinaryIO) -> tuple[str, int]:
        digest = hashlib.sha256()
        size = 0
        buffer = bytearray()
        async for chunk in chunks:
            size += len(chunk)
            if size > self._max_size:
                raise PayloadTooLarge(
                    f"An artifact may have at most {self._max_size} bytes.", {"limit": self._max_size}
                )
            buffer += chunk
            if len(buffer) >= CHUNK:
                await asyncio.to_thread(_append, file, digest, bytes(buffer))
                buffer.clear()
        await asyncio.to_thread(_append, file, digest, bytes(buffer))
        await asyncio.to_thread(os.fsync, file.fileno())
        return digest.hexdigest(), size

    def _keep(self, path: Path, digest: str, size: int) -> Stored:
        target = self._root / digest[:2] / digest[2:]
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            path.rename(target)
            _sync_directory(target.parent)
            _sync_directory(self._root)
        return Stored(f"sha256:{digest}", size)

    def path(self, artifact_id: str) -> Path:
        """Where the artifact is. Raises `NotFound` if it is not here."""
        if ARTIFACT_ID.fullmatch(artifact_id) is None:
            raise NotFound(f"{artifact_id!r} is no artifact id; it looks like sha256:<64 hex digits>.")
        digest = artifact_id.removeprefix("sha256:")
        path = self._root / digest[:2] / digest[2:]
        if not path.is_file():
            raise NotFound(f"There is no artifact {artifact_id}.", {"artifact_id": artifact_id})
        return path

    async def read(self, artifact_id: str, start: int, length: int) -> AsyncIterator[bytes]:
        """`length` bytes from `start`, in pieces."""
        file = await asyncio.to_thread(self.path(artifact_id).open, "rb")
        try:
            await asyncio.to_thread(file.seek, start)
            while length > 0 and (chunk := await asyncio.to_thread(file.read, min(CHUNK, length))):
                length -= len(chunk)
                yield chunk
        finally:
            file.close()


def _append(file: BinaryIO, digest: hashlib._Hash, data: bytes) -> None:
    file.write(data)
    file.flush()
    digest.update(data)


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
