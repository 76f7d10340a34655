"""Content-addressed bytes in a directory: what is stored under a digest has that digest, or is not there.

A blob is written to a temporary file, hashed on the way, synced, and renamed to `ab/cdef...`; a name that exists is
complete. Its row in the database comes after it, so that a crash may leave a blob without one; those are removed when they
are old. Blocking file work runs in threads.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import tempfile
import threading
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from agent.core.errors import NotFound, PayloadTooLarge, ServiceUnavailable
from agent.fault_points import reach

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
        # Between looking whether a blob is there, or how old it is, and acting on that.
        self._names = threading.Lock()

    def open(self) -> None:
        """Make the directory and remove what a crash left half written."""
        self._incoming.mkdir(parents=True, exist_ok=True)
        for left_over in self._incoming.iterdir():
            left_over.unlink()

    async def store(self, chunks: AsyncIterable[bytes], room: int | None = None) -> Stored:
        """Store a stream of at most `room` bytes (None: no limit but that of every artifact).

        Raises `PayloadTooLarge` beyond a limit, `ServiceUnavailable` when the disk is full. Nothing is kept then.
        """
        handle, name = await asyncio.to_thread(tempfile.mkstemp, dir=self._incoming)
        path = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                digest, size = await self._receive(chunks, file, room)
            await asyncio.to_thread(self._keep, path, digest)
            return Stored(f"sha256:{digest}", size)
        except OSError as error:
            raise ServiceUnavailable(f"The coordinator cannot store files now: {error.strerror}.") from error
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def _receive(
        self, chunks: AsyncIterable[bytes], file: BinaryIO, room: int | None
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
            if room is not None and size > room:
                raise PayloadTooLarge(f"You may store only {room} bytes more.", {"room": room})
            buffer += chunk
            if len(buffer) >= CHUNK:
                await asyncio.to_thread(_append, file, digest, bytes(buffer))
                buffer.clear()
        await asyncio.to_thread(_append, file, digest, bytes(buffer))
        await asyncio.to_thread(os.fsync, file.fileno())
        return digest.hexdigest(), size

    async def adopt(self, path: Path, artifact_id: str) -> None:
        """Take over a synced file that has that content. Doing it again is fine. Raises `NotFound` when there is no such file."""
        try:
            await asyncio.to_thread(self._keep, path, artifact_id.removeprefix("sha256:"))
        except FileNotFoundError:
            raise NotFound("The coordinator has lost what it received; send it again.") from None

    def _keep(self, path: Path, digest: str) -> None:
        reach("artifact.received")
        target = self._root / digest[:2] / digest[2:]
        with self._names:
            if target.exists():
                os.utime(target)  # perhaps nothing refers to it yet, and it must not seem old
                path.unlink(missing_ok=True)
            else:
                os.utime(path)
                target.parent.mkdir(exist_ok=True)
                path.rename(target)
        sync_directory(target.parent)
        sync_directory(self._root)
        reach("artifact.kept")

    def older_than(self, moment: float) -> Iterator[str]:
        """The ids of blobs that were stored, or stored again, before `moment` (seconds since the epoch)."""
        for directory in self._root.glob("[0-9a-f][0-9a-f]"):
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.stat().st_mtime < moment:
                        yield f"sha256:{directory.name}{entry.name}"

    def remove_if_older(self, artifact_id: str, moment: float) -> bool:
        """Remove a blob, unless it was stored again since `moment`. Whether it was removed."""
        path = self.path(artifact_id)
        with self._names:
            if path.stat().st_mtime >= moment:
                return False
            path.unlink()
        return True

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
    reach("artifact.writing")
    file.write(data)
    file.flush()
    digest.update(data)


def sync_directory(path: Path) -> None:
    """Make new and changed names in a directory durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
