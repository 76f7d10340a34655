"""Which request may write to a resumable upload, and how its body arrives.

An upload has one writer at a time. A new request interrupts the current writer, because a client retries when its connection is
lost, and the server may not notice a lost connection for hours. All bytes that a writer has received when it ends are retained.
These are the turns inside one process; the upload's row in the database counts those of all replicas.
"""

from __future__ import annotations

import asyncio
import hashlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from agent.coordinator.blobs.store import CHUNK, Cover, Stored
from agent.coordinator.features.tus.headers import Checksum, UploadSegment
from agent.core.errors import ApiError, Conflict, InsufficientStorage, Locked, PayloadTooLarge

CHECKPOINT_BYTES: Final = 16 * 2**20
CHECKPOINT_SECONDS: Final = 5.0
"""Received bytes are synced and recorded after this many bytes or seconds. A crash in a long request loses no more than that."""
TURN_SECONDS: Final = 10.0
"""How long a new request waits for the current writer, which may still have a piece to write and sync."""
MAX_STATES: Final = 10_000
"""Uploads whose running hash is cached. The hash of any other is computed again from its file."""

TAKEN_OVER: Final = "Another request continues this upload."

Save = Callable[[int, Sequence[UploadSegment], str | None], Awaitable[None]]
"""Saves how many bytes are stored, the blobs that hold the newest of them, if they are blobs, and the SHA-256 (hex) of all, if known."""


class Interrupted(Conflict):
    """A request ended before its body: a lost connection, silence, or a new request. Its received bytes are retained."""


@dataclass(slots=True)
class TurnState:
    """The state of an upload between requests. `digest` covers the first `hashed` bytes of its file.

    `superseded` is whether another replica has taken over since the turn began.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    superseded: bool = False
    silence: asyncio.Timeout | None = None
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    hashed: int = 0

    @property
    def taken_over(self) -> bool:
        """Whether another request waits for its turn."""
        return self.waiting > 0 or self.superseded

    def add(self, block: bytes) -> None:
        """Hash a written block."""
        self.digest.update(block)
        self.hashed += len(block)

    def forget_digest(self) -> None:
        """Compute the hash again from the first byte on."""
        self.digest, self.hashed = hashlib.sha256(), 0

    def wake(self) -> None:
        """End the wait of the current writer for its next bytes."""
        if self.silence is not None and not self.silence.expired():
            self.silence.reschedule(0)


class GrowingUpload(ABC):
    """The received bytes of one upload, during a turn."""

    def __init__(self, state: TurnState, silence_seconds: float) -> None:
        self._state = state
        self._silence_seconds = silence_seconds

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
        """Append the body after the first `start` bytes, and call `save` at intervals and at the end.

        `cover` is called before the body grows to a number of bytes. With a checksum, either the whole body is stored or nothing.
        Raises `Interrupted` or `InsufficientStorage`, keeping the bytes received before; `PayloadTooLarge` beyond `limit` bytes
        or the bound of `cover`, and `ChecksumMismatch`, both discarding the body; `NotFound` if stored bytes were lost;
        `ServiceUnavailable` if the store fails.
        """
        body = Body(chunks, self._state, limit=limit, cover=cover, silence_seconds=self._silence_seconds)
        await self._receive(body, save, start, checksum)
        if body.ended is not None:
            raise body.ended

    @abstractmethod
    async def _receive(self, body: Body, save: Save, start: int, checksum: Checksum | None) -> None:
        """Store the body as far as it arrives."""

    @abstractmethod
    async def publish(self, artifact_id: str | None, size: int, segments: Sequence[UploadSegment]) -> Stored:
        """Make the complete upload of `size` bytes a blob; `artifact_id` is as saved. May be repeated.

        Raises `NotFound` if bytes were lost, `ServiceUnavailable`.
        """


class UploadStore:
    """The bytes of unfinished uploads, and the states of these by their ids. Its kinds say where the bytes are."""

    def __init__(self, silence_seconds: float) -> None:
        self._silence_seconds = silence_seconds
        self._states: dict[str, TurnState] = {}

    def _growing(self, upload_id: str, state: TurnState) -> GrowingUpload:
        """Return an upload for its only writer."""
        raise NotImplementedError

    async def older_than(self, moment: float) -> list[str]:
        """Return the uploads whose files were last changed before `moment` (seconds since the epoch)."""
        raise NotImplementedError

    async def remove(self, upload_id: str) -> None:
        """Remove an upload's file, if there is one."""
        raise NotImplementedError

    async def close(self) -> None:
        """Do nothing: the store of blobs has the connections."""

    @asynccontextmanager
    async def turn(self, upload_id: str) -> AsyncIterator[GrowingUpload]:
        """Become the upload's only writer in this process, interrupting the current one. Raises `Locked` if that does not end in time."""
        state = self._states.setdefault(upload_id, TurnState())
        state.waiting += 1
        try:
            # The present writer may wait for a client that has long disconnected.
            state.wake()
            async with asyncio.timeout(TURN_SECONDS):
                await state.lock.acquire()
        except TimeoutError:
            raise locked() from None
        finally:
            state.waiting -= 1
        try:
            state.superseded = False
            yield self._growing(upload_id, state)
        finally:
            state.lock.release()
            # States are stored for the digests that they have, but not without a bound.
            self._limit()

    def interrupt(self, upload_id: str) -> None:
        """End the current writer, because another process has taken over."""
        state = self._states.get(upload_id)
        if state is not None and state.lock.locked():
            state.superseded = True
            state.wake()

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


def locked() -> Locked:
    """Return the error for an upload whose current writer does not end."""
    return Locked("Another request is writing to this upload; try again in a moment.")


class Body:
    """The body of one request. `ended` is why it ended early, if it did."""

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        state: TurnState,
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
                # Small chunks are joined, since each write has a fixed cost; a slow client's bytes must not wait forever.
                if len(buffer) >= CHUNK or now() - begun >= CHECKPOINT_SECONDS:
                    yield bytes(buffer)
                    buffer.clear()
                    begun = now()
        except (Interrupted, PayloadTooLarge, InsufficientStorage) as error:
            self.ended = error
        if buffer:
            yield bytes(buffer)

    async def _next(self) -> bytes | None:
        # Checked before each chunk, so that the next writer waits for one chunk at most.
        if self._state.taken_over:
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
        return Interrupted(TAKEN_OVER if self._state.taken_over else silent)
