"""Unfinished resumable uploads in a bucket: each piece of received bytes is an object, until the complete upload becomes a blob.

Objects cannot grow, and parts of a multipart upload have a minimum size and cannot be read. With objects, any replica continues an
upload with the next byte, however few have arrived.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Final

from agent.coordinator.blobs.store import BLOBS, NamedBlobs, Stored
from agent.coordinator.features.tus.headers import CHECKSUMS, Checksum, UploadSegment
from agent.coordinator.features.tus.turns import (
    CHECKPOINT_BYTES,
    CHECKPOINT_SECONDS,
    Body,
    GrowingUpload,
    Save,
    TurnState,
    UploadStore,
)
from agent.core.errors import ApiError, ChecksumMismatch, NotFound, PayloadTooLarge
from agent.fault_points import reach

PARTS: Final = "parts"


class SegmentedUploads(UploadStore):
    """See `UploadStore`."""

    def __init__(self, blobs: NamedBlobs, *, silence_seconds: float) -> None:
        super().__init__(silence_seconds)
        self._blobs = blobs

    def _growing(self, upload_id: str, state: TurnState) -> SegmentedUpload:
        return SegmentedUpload(upload_id, state, self._blobs, self._silence_seconds)

    async def older_than(self, moment: float) -> list[str]:  # noqa: ARG002 - the other store needs it
        """Return nothing: segments are blobs, which are listed as such."""
        return []

    async def remove(self, upload_id: str) -> None:
        """Do nothing: segments are removed by their names."""


class SegmentedUpload(GrowingUpload):
    """The segments of one upload, during a turn. See `GrowingUpload`."""

    def __init__(self, upload_id: str, state: TurnState, blobs: NamedBlobs, silence_seconds: float) -> None:
        super().__init__(state, silence_seconds)
        self._upload_id = upload_id
        self._blobs = blobs

    async def _receive(self, body: Body, save: Save, start: int, checksum: Checksum | None) -> None:
        stored: list[UploadSegment] = []
        try:
            await self._append(body, save, start, checksum, stored)
        except BaseException:
            # Pieces that were stored and not saved belong to no row; the cancellation must not prevent their removal.
            await asyncio.shield(self._discard(stored))
            raise

    async def _append(
        self, body: Body, save: Save, start: int, checksum: Checksum | None, unsaved: list[UploadSegment]
    ) -> None:
        """Store the body. `unsaved` are the segments that no row refers to yet."""
        check = None if checksum is None else CHECKSUMS[checksum.algorithm]()
        now = asyncio.get_running_loop().time
        received, saved_at = start, now()
        buffer = bytearray()
        async for block in body.blocks():
            if check is not None:
                await asyncio.to_thread(check.update, block)
            buffer += block
            if len(buffer) >= CHECKPOINT_BYTES or (now() - saved_at >= CHECKPOINT_SECONDS and check is None):
                # With a checksum, nothing is saved before the end: either the whole body counts or nothing.
                received = await self._put(buffer, received, unsaved)
                if check is None:
                    await _save(save, received, unsaved)
                saved_at = now()
        if isinstance(body.ended, PayloadTooLarge):
            await save(start, (), None)  # the bytes of earlier requests remain
            return
        if check is not None and (
            body.ended is not None or check.digest() != getattr(checksum, "digest", None)
        ):
            raise body.ended or ChecksumMismatch(
                "The received bytes do not match the checksum; send them again."
            )
        received = await self._put(buffer, received, unsaved)
        await _save(save, received, unsaved)

    async def _put(self, buffer: bytearray, start: int, unsaved: list[UploadSegment]) -> int:
        """Store the buffer as a segment, and empty it. Return where the next one starts."""
        if buffer:
            segment = UploadSegment(start, len(buffer), f"{PARTS}/{secrets.token_hex(16)}")
            reach("upload.writing")
            # Noted before it is stored: if the storing fails halfway, it is removed all the same.
            unsaved.append(segment)
            await self._blobs.put(segment.name, bytes(buffer))
            reach("upload.synced")
            start += len(buffer)
            buffer.clear()
        return start

    async def _discard(self, segments: Sequence[UploadSegment]) -> None:
        try:
            await self._blobs.remove([segment.name for segment in segments])
        except ApiError:
            return  # the sweep of orphans removes them

    async def publish(self, artifact_id: str | None, size: int, segments: Sequence[UploadSegment]) -> Stored:  # noqa: ARG002 - the other store needs it
        """Join the segments. See `GrowingUpload`."""
        reach("artifact.received")
        # Named after the upload, so that a repetition overwrites its first attempt.
        stored = await self._blobs.store_as(f"{BLOBS}/{self._upload_id}", self._joined(segments))
        reach("artifact.stored")
        if stored.size != size:
            raise NotFound("The coordinator has lost a received part of this upload; start it again.")
        return stored

    async def _joined(self, segments: Sequence[UploadSegment]) -> AsyncIterator[bytes]:
        for segment in segments:
            async for piece in await self._blobs.read(segment.name, 0, segment.size):
                yield piece


async def _save(save: Save, received: int, unsaved: list[UploadSegment]) -> None:
    # A file without bytes has no segments from which its digest could be computed.
    await save(received, tuple(unsaved), None if received else hashlib.sha256().hexdigest())
    unsaved.clear()
