"""The files of resumable uploads, and which request may write to one.

An upload has one writer at a time. A new request interrupts the current writer, because a client retries when its connection is
lost, and the server may not notice a lost connection for hours. All bytes that a writer has received when it ends are retained.
Blocking file work runs in threads.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from agent.coordinator.blobs.store import CHUNK, Cover, disk_error, sync_directory
from agent.core.errors import (
    ApiError,
    ChecksumMismatch,
    Conflict,
    InsufficientStorage,
    Locked,
    NotFound,
    PayloadTooLarge,
)
from agent.core.tus import CHECKSUMS, Checksum
from agent.fault_points import reach

CHECKPOINT_BYTES: Final = 16 * 2**20
CHECKPOINT_SECONDS: Final = 5.0
"""Received bytes are synced and recorded after this many bytes or seconds. A crash in a long request loses no more than that."""
TURN_SECONDS: Final = 10.0
"""How long a new request waits for the current writer, which may still have a piece to write and sync."""
MAX_STATES: Final = 10_000
"""Uploads whose running hash is cached. The hash of any other is computed again from its file."""

TAKEN_OVER: Final = "Another request continues this upload."

Save = Callable[[int], Awaitable[None]]
"""Saves how many bytes are on disk."""


class Interrupted(Conflict):
    """A request ended before its body: a lost connection, silence, or a new request. Its received bytes are retained."""


@dataclass(slots=True)
class _State:
    """The state of an upload between requests. `digest` covers the first `hashed` bytes of its file."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    silence: asyncio.Timeout | None = None
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    hashed: int = 0

    def add(self, block: bytes) -> None:
        """Hash a written block."""
        self.digest.update(block)
        self.hashed += len(block)

    def forget_digest(self) -> None:
        self.digest, self.hashed = hashlib.sha256(), 0


class UploadDirectory:
    """The files of unfinished uploads below one directory, each named by its upload's id."""

    def __init__(self, root: Path, *, silence_seconds: float) -> None:
        self._root = root
        self._silence_seconds = silence_seconds
        self._states: dict[str, _State] = {}

    def open(self) -> None:
        """Create the directory."""
        self._root.mkdir(parents=True, exist_ok=True)

    @asynccontextmanager
    async def turn(self, upload_id: str) -> AsyncIterator[GrowingFile]:
        """Become the upload's only writer, interrupting the current one. Raises `Locked` if that does not end in time."""
        state = self._states.setdefault(upload_id, _State())
        state.waiting += 1
        try:
            if state.silence is not None and not state.silence.expired():
                state.silence.reschedule(0)
            async with asyncio.timeout(TURN_SECONDS):
                await state.lock.acquire()
        except TimeoutError:
            raise Locked("Another request is writing to this upload; try again in a moment.") from None
        finally:
            state.waiting -= 1
        try:
            yield GrowingFile(self._root / upload_id, state, self._silence_seconds)
        finally:
            state.lock.release()
            self._limit()

    def _limit(self) -> None:
        if len(self._states) > MAX_STATES:
            idle = (key for key, state in self._states.items() if not (state.waiting or state.lock.locked()))
            if (oldest := next(idle, None)) is not None:
                del self._states[oldest]

    def forget(self, upload_id: str) -> None:
        """Drop the state of an upload that has ended."""
        state = self._states.get(upload_id)
        if state is not None and not state.waiting:
            del self._states[upload_id]

    def older_than(self, moment: float) -> Iterator[str]:
        """Yield the uploads whose files were last changed before `moment` (seconds since the epoch)."""
        with os.scandir(self._root) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # the upload has just finished
                    if entry.stat().st_mtime < moment:
                        yield entry.name

    def remove(self, upload_id: str) -> None:
        """Remove an upload's file, if there is one."""
        (self._root / upload_id).unlink(missing_ok=True)


class GrowingFile:
    """The file of one upload, during a turn."""

    def __init__(self, path: Path, state: _State, silence_seconds: float) -> None:
        self.path = path
        self._state = state
        self._silence_seconds = silence_seconds

    @property
    def sha256(self) -> str:
        """The SHA-256 of the file's content in hex, as of the last `append`."""
        return self._state.digest.hexdigest()

    async def append(
        self,
        chunks: AsyncGenerator[bytes, None],
        save: Save,
        *,
        start: int,
        limit: int,
        cover: Cover,
        checksum: Checksum | None = None,
    ) -> None:
        """Append the body after the first `start` bytes, and call `save` with the new size at intervals and at the end.

        `cover` is called before the body grows to a number of bytes. With a checksum, either the whole body is stored or nothing.
        Raises `Interrupted` or `InsufficientStorage`, keeping the bytes received before; `PayloadTooLarge` beyond `limit` bytes
        or the bound of `cover`, and `ChecksumMismatch`, both discarding the body; `NotFound` if the file has lost bytes that were
        stored; `ServiceUnavailable` if the disk fails.
        """
        body = _Body(chunks, self._state, limit=limit, cover=cover, silence_seconds=self._silence_seconds)
        try:
            with await asyncio.to_thread(self._open, start) as file:
                if checksum is None:
                    await self._append(file, body, save)
                else:
                    await self._append_checked(file, body, save, checksum)
        except OSError as error:
            raise disk_error(error) from error
        if body.ended is not None:
            raise body.ended

    def _open(self, start: int) -> BinaryIO:
        """Open the file and truncate it to its first `start` bytes; later bytes were never acknowledged."""
        if start > 0 and not (self.path.exists() and self.path.stat().st_size >= start):
            raise NotFound("The coordinator has lost the received part of this upload; start it again.")
        if self._state.hashed != start:
            self._state.forget_digest()
        file = self.path.open("r+b" if start > 0 else "w+b")
        try:
            if start == 0:
                sync_directory(self.path.parent)
            file.truncate(start)
            self._catch_up(file, start)
        except BaseException:
            file.close()
            raise
        return file

    def _catch_up(self, file: BinaryIO, start: int) -> None:
        """Hash the content of the file, which is necessary only after a restart."""
        file.seek(self._state.hashed)
        while self._state.hashed < start:
            self._state.add(file.read(min(CHUNK, start - self._state.hashed)))

    async def _append(self, file: BinaryIO, body: _Body, save: Save) -> None:
        now = asyncio.get_running_loop().time
        before = self._state.digest.copy(), self._state.hashed
        saved, saved_at = self._state.hashed, now()
        async for block in body.blocks():
            await asyncio.to_thread(self._write, file, block)
            if self._state.hashed - saved >= CHECKPOINT_BYTES or now() - saved_at >= CHECKPOINT_SECONDS:
                await asyncio.to_thread(os.fsync, file.fileno())
                reach("upload.synced")
                await save(self._state.hashed)
                saved, saved_at = self._state.hashed, now()
        if isinstance(body.ended, PayloadTooLarge):
            # Refused bytes are removed from the disk at once. The bytes of earlier requests remain.
            self._state.digest, self._state.hashed = before
            await save(self._state.hashed)
            await asyncio.to_thread(file.truncate, self._state.hashed)
            return
        await asyncio.to_thread(os.fsync, file.fileno())
        reach("upload.synced")
        await save(self._state.hashed)

    async def _append_checked(self, file: BinaryIO, body: _Body, save: Save, checksum: Checksum) -> None:
        before = self._state.digest.copy(), self._state.hashed
        check = CHECKSUMS[checksum.algorithm]()
        async for block in body.blocks():
            await asyncio.to_thread(check.update, block)
            await asyncio.to_thread(self._write, file, block)
        matches = check.digest() == checksum.digest
        if body.ended is not None or not matches:
            self._state.digest, self._state.hashed = before
            await asyncio.to_thread(file.truncate, self._state.hashed)
            raise body.ended or ChecksumMismatch(
                "The received bytes do not match the checksum; send them again."
            )
        await asyncio.to_thread(os.fsync, file.fileno())
        reach("upload.synced")
        await save(self._state.hashed)

    def _write(self, file: BinaryIO, block: bytes) -> None:
        reach("upload.writing")
        file.write(block)
        file.flush()
        self._state.add(block)


class _Body:
    """The body of one request. `ended` is why it ended early, if it did."""

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        state: _State,
        *,
        limit: int,
        cover: Cover,
        silence_seconds: float,
    ) -> None:
        self.ended: ApiError | None = None
        self._cover = cover
        self._arrived = 0
        self._chunks = chunks
        self._state = state
        self._limit = limit
        self._silence_seconds = silence_seconds

    async def blocks(self) -> AsyncIterator[bytes]:
        """Yield the body in pieces that are large enough for a thread each, or smaller ones after `CHECKPOINT_SECONDS`."""
        buffer = bytearray()
        now = asyncio.get_running_loop().time
        begun = now()
        try:
            while (chunk := await self._next()) is not None:
                buffer += chunk
                if len(buffer) >= CHUNK or now() - begun >= CHECKPOINT_SECONDS:
                    yield bytes(buffer)
                    buffer.clear()
                    begun = now()
        except (Interrupted, PayloadTooLarge, InsufficientStorage) as error:
            self.ended = error
        if buffer:
            yield bytes(buffer)

    async def _next(self) -> bytes | None:
        if self._state.waiting:
            raise Interrupted(TAKEN_OVER)
        try:
            async with asyncio.timeout(self._silence_seconds) as self._state.silence:
                chunk = await anext(self._chunks, None)
        except TimeoutError:
            raise self._silent() from None
        finally:
            self._state.silence = None
        if chunk:
            self._arrived += len(chunk)
            if self._arrived > self._limit:
                raise PayloadTooLarge("The body exceeds the upload's length.", {"limit": self._limit})
            await self._cover(self._arrived)
        return chunk

    def _silent(self) -> Interrupted:
        silent = f"No data arrived for {self._silence_seconds:g} seconds."
        return Interrupted(TAKEN_OVER if self._state.waiting else silent)
