"""Blobs in a directory, which the replicas of a coordinator may share.

A blob is written to a temporary file, hashed while written, synced, and renamed to `ab/cdef...`, its digest, with a suffix that
makes its name unique. Blobs of versions before 0.3 have no suffix; their name is the artifact id. Blocking file work runs in
threads.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import math
import os
import re
import secrets
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import unquote, urlsplit

from agent.atomic_file import sync_directory
from agent.coordinator.blobs.store import (
    CHUNK,
    Cover,
    Found,
    Stored,
    bounded,
    disk_full,
    lost,
    name_of,
    path_of,
)
from agent.core.errors import ApiError, ConfigurationError, NotFound, ServiceUnavailable
from agent.fault_points import reach
from agent.settings import Settings

ARTIFACTS: Final = "coordinator/artifacts"
"""Where blobs are by default, below the data directory."""
BATCH: Final = 500

_PATH: Final = re.compile(r"[0-9a-f]{2}/[0-9a-f]{62}(\.[A-Za-z0-9_-]{1,100})?")
_DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class ArtifactDirectory:
    """A `BlobStore` below one directory. `shared` means that other replicas use it as well."""

    direct: None = None

    def __init__(self, root: Path, *, max_size: int, shared: bool = False) -> None:
        self.root = root
        self._shared = shared
        self._incoming = root / "incoming"
        self._max_size = max_size

    def open(self) -> None:
        """Create the directory, and remove incomplete files that a crash left, unless they may be another replica's."""
        try:
            self._incoming.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"The directory of artifacts, {self.root}, cannot be created: {error.strerror}. Correct `artifacts.url`."
            ) from None
        # In a shared directory the file may belong to a replica that is receiving it; the sweep goes by age there.
        if not self._shared:
            self._sweep(math.inf)

    async def sweep(self, moment: float) -> int:
        """Remove incomplete files that were last written before `moment`. Return their number."""
        return await asyncio.to_thread(self._sweep, moment)

    def _sweep(self, moment: float) -> int:
        count = 0
        for incomplete in self._incoming.iterdir():
            with suppress(FileNotFoundError):
                if incomplete.stat().st_mtime < moment:
                    incomplete.unlink()
                    count += 1
        return count

    async def close(self) -> None:
        """Do nothing: no connection is open."""

    async def store(self, chunks: AsyncIterable[bytes], cover: Cover | None = None) -> Stored:
        """Store a stream. See `BlobStore`."""
        path = None
        try:
            handle, temporary = await asyncio.to_thread(tempfile.mkstemp, dir=self._incoming)
            path = Path(temporary)
            with os.fdopen(handle, "wb") as file:
                digest, size = await _receive(bounded(chunks, self._max_size, cover), file)
            # The same bytes may arrive twice at once: with a name of its own, removing one never takes the other's.
            name = f"{digest[:2]}/{digest[2:]}.{secrets.token_hex(8)}"
            await asyncio.to_thread(self._publish, path, name)
            return Stored(f"sha256:{digest}", size, name)
        except OSError as error:
            raise disk_error(error) from error
        finally:
            if path is not None:
                await asyncio.to_thread(path.unlink, missing_ok=True)

    async def adopt(self, path: Path, digest: str, suffix: str) -> str:
        """Move a synced file with this SHA-256 (hex) here, and return the blob's name.

        May be repeated. Raises `NotFound` if the file does not exist.
        """
        name = f"{digest[:2]}/{digest[2:]}.{suffix}"
        try:
            await asyncio.to_thread(self._publish, path, name)
        except FileNotFoundError:
            # A repeated call finds the file moved already, which is what the caller wants.
            if not self.path(name).exists():
                raise NotFound("The coordinator has lost the received file; send it again.") from None
        except OSError as error:
            raise disk_error(error) from error
        return name

    def _publish(self, path: Path, name: str) -> None:
        reach("artifact.received")
        target = self.path(name)
        # The sweep of orphans goes by this time. A slow upload would look old enough to be one before its row is written.
        os.utime(path)
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
        # The new entries must survive a power cut before a row in the database refers to them.
        sync_directory(target.parent)
        sync_directory(self.root)
        reach("artifact.stored")

    async def read(self, name: str, start: int, length: int) -> AsyncIterator[bytes]:
        """Return an iterator over a range. See `BlobStore`."""
        try:
            # The first piece is read here, so that a missing file is an error before the answer has begun.
            file, chunk = await asyncio.to_thread(_open_at, self.path(name), start, min(CHUNK, length))
        except FileNotFoundError:
            raise lost(name) from None
        except OSError as error:
            raise disk_error(error) from error
        return _rest(file, chunk, length)

    async def size(self, name: str) -> int | None:
        """Return the size of a blob in bytes, or None if it does not exist."""
        try:
            return (await asyncio.to_thread(self.path(name).stat)).st_size
        except FileNotFoundError:
            return None

    async def remove(self, names: Sequence[str]) -> None:
        """Remove blobs."""
        try:
            await asyncio.to_thread(self._remove, names)
        except OSError as error:
            raise disk_error(error) from error

    def _remove(self, names: Sequence[str]) -> None:
        for name in names:
            reach("artifact.removing")
            self.path(name).unlink(missing_ok=True)

    async def listed(self) -> AsyncIterator[list[Found]]:
        """Yield all blobs, in batches."""
        blobs = self._found()
        while batch := await asyncio.to_thread(lambda: list(islice(blobs, BATCH))):
            yield batch

    def _found(self) -> Iterator[Found]:
        for directory in self.root.glob("[0-9a-f][0-9a-f]"):
            with os.scandir(directory) as entries:
                for entry in entries:
                    try:
                        stat = entry.stat()
                    except FileNotFoundError:
                        continue
                    yield Found(name_of(f"{directory.name}/{entry.name}"), stat.st_size, stat.st_mtime)

    def path(self, name: str) -> Path:
        """Return the path of a blob, whether or not it exists."""
        path = path_of(name)
        if _PATH.fullmatch(path) is None:
            raise ValueError(f"{name!r} is not the name of a blob in a directory.")
        return self.root / path


async def _receive(chunks: AsyncIterable[bytes], file: BinaryIO) -> tuple[str, int]:
    digest = hashlib.sha256()
    size = 0
    buffer = bytearray()
    async for chunk in chunks:
        size += len(chunk)
        buffer += chunk
        if len(buffer) >= CHUNK:
            await asyncio.to_thread(_append, file, digest, bytes(buffer))
            buffer.clear()
    await asyncio.to_thread(_append, file, digest, bytes(buffer))
    # The answer states that the bytes are stored, so they must be on the disk and not only in memory.
    await asyncio.to_thread(os.fsync, file.fileno())
    return digest.hexdigest(), size


def _append(file: BinaryIO, digest: hashlib._Hash, data: bytes) -> None:
    reach("artifact.writing")
    file.write(data)
    file.flush()
    digest.update(data)


def _open_at(path: Path, start: int, size: int) -> tuple[BinaryIO, bytes]:
    """Open a file at the position `start`, and read the first piece."""
    file = path.open("rb")
    file.seek(start)
    return file, file.read(size)


async def _rest(file: BinaryIO, chunk: bytes, length: int) -> AsyncIterator[bytes]:
    with file:
        while chunk:
            yield chunk
            length -= len(chunk)
            chunk = await asyncio.to_thread(file.read, min(CHUNK, length)) if length > 0 else b""


def disk_error(error: OSError) -> ApiError:
    """Return the answer to a request for an error of the disk."""
    if error.errno in _DISK_FULL:
        return disk_full()
    return ServiceUnavailable(f"The coordinator cannot store files now: {error.strerror}.")


def directory_of(settings: Settings) -> Path | None:
    """Return the directory of the blobs, or None if they are elsewhere."""
    url = settings.artifacts.url
    if url is None:
        return settings.data_dir / ARTIFACTS
    return Path(unquote(urlsplit(url).path)) if url.startswith("file:") else None


def open_directory(settings: Settings) -> ArtifactDirectory:
    """Return the store in the directory that the settings name. Raises `ConfigurationError` if they name no directory."""
    directory = directory_of(settings)
    if directory is None:
        raise ConfigurationError(
            f"This coordinator cannot store files in {settings.artifacts.url}. Correct `artifacts.url`."
        )
    shared = settings.database.on_postgres or settings.artifacts.url is not None
    return ArtifactDirectory(directory, max_size=int(settings.coordinator.max_artifact), shared=shared)
