"""The files of resumable uploads in a directory. Blocking file work runs in threads."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from agent.atomic_file import sync_directory
from agent.coordinator.blobs.directory import ArtifactDirectory, disk_error
from agent.coordinator.blobs.store import CHUNK, Stored
from agent.coordinator.features.tus.headers import CHECKSUMS, Checksum, UploadSegment
from agent.coordinator.features.tus.turns import (
    CHECKPOINT_BYTES,
    CHECKPOINT_SECONDS,
    TURN_SECONDS,
    Body,
    GrowingUpload,
    Save,
    TurnState,
    UploadStore,
    locked,
)
from agent.core.errors import ChecksumMismatch, NotFound, PayloadTooLarge
from agent.fault_points import reach
from agent.file_lock import try_lock

UPLOADS: Final = "uploads"
LOCK_SECONDS: Final = 0.05
"""Interval at which the lock of a file is tried that another replica's request holds."""


class UploadDirectory(UploadStore):
    """The files of unfinished uploads in a directory below that of artifacts, each named by its upload's id."""

    def __init__(self, artifacts: ArtifactDirectory, *, silence_seconds: float) -> None:
        super().__init__(silence_seconds)
        self._root = artifacts.root / UPLOADS
        self._root.mkdir(parents=True, exist_ok=True)
        self._artifacts = artifacts

    def _growing(self, upload_id: str, state: TurnState) -> GrowingFile:
        return GrowingFile(self._root / upload_id, state, self._artifacts, self._silence_seconds)

    async def older_than(self, moment: float) -> list[str]:
        """Return the uploads whose files were last changed before `moment` (seconds since the epoch)."""
        return await asyncio.to_thread(self._older_than, moment)

    def _older_than(self, moment: float) -> list[str]:
        names = []
        with suppress(FileNotFoundError), os.scandir(self._root) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # the upload has just finished
                    if entry.stat().st_mtime < moment:
                        names.append(entry.name)
        return names

    async def remove(self, upload_id: str) -> None:
        """Remove an upload's file, if there is one."""
        await asyncio.to_thread((self._root / upload_id).unlink, missing_ok=True)


class GrowingFile(GrowingUpload):
    """The file of one upload, during a turn."""

    def __init__(
        self, path: Path, state: TurnState, artifacts: ArtifactDirectory, silence_seconds: float
    ) -> None:
        super().__init__(state, silence_seconds)
        self.path = path
        self._artifacts = artifacts

    async def publish(self, artifact_id: str | None, size: int, segments: Sequence[UploadSegment]) -> Stored:  # noqa: ARG002 - the other store needs it
        """Make the complete upload a blob. See `GrowingUpload`."""
        # The process ended before the last digest was saved, so it is computed from the file again.
        if artifact_id is None:
            with await self._opened(size):
                artifact_id = f"sha256:{self._state.digest.hexdigest()}"
        digest = artifact_id.removeprefix("sha256:")
        return Stored(artifact_id, size, await self._artifacts.adopt(self.path, digest, self.path.name))

    async def _receive(self, body: Body, save: Save, start: int, checksum: Checksum | None) -> None:
        try:
            with await self._opened(start, save) as file:
                if checksum is None:
                    await self._append(file, body, save)
                else:
                    await self._append_checked(file, body, save, checksum)
        except OSError as error:
            self._state.forget_digest()
            raise disk_error(error) from error
        except ChecksumMismatch:
            raise
        except BaseException:
            self._state.forget_digest()  # the hashed bytes may never have been recorded
            raise

    async def _opened(self, start: int, save: Save | None = None) -> BinaryIO:
        """Return the file, locked against the requests of other replicas. Raises `Locked` if one does not end.

        `save` raises if another replica has taken the turn meanwhile: it may have completed the upload, and the file is an artifact then.
        """
        file = await asyncio.to_thread(self._open, start)
        try:
            async with asyncio.timeout(TURN_SECONDS):
                # The lock of the file excludes other replicas, which share the directory but not the locks in memory.
                while not try_lock(file):  # noqa: ASYNC110 - the holder is another process
                    await asyncio.sleep(LOCK_SECONDS)
            if save is not None:
                await save(start, (), None)
            await asyncio.to_thread(self._prepare, file, start)
        except TimeoutError:
            file.close()
            raise locked() from None
        except BaseException:
            file.close()
            raise
        return file

    def _open(self, start: int) -> BinaryIO:
        if start > 0 and not (self.path.exists() and self.path.stat().st_size >= start):
            raise NotFound("The coordinator has lost the received part of this upload; start it again.")
        return self.path.open("r+b" if start > 0 else "a+b")

    def _prepare(self, file: BinaryIO, start: int) -> None:
        """Truncate the file to its first `start` bytes; later bytes were never acknowledged."""
        # Another replica has written, or bytes were refused: the digest covers other bytes than the file.
        if self._state.hashed != start:
            self._state.forget_digest()
        # The new file's name must survive a power failure, as its bytes do.
        if start == 0:
            sync_directory(self.path.parent)
        # Bytes beyond the recorded length came from a request whose end was not recorded.
        file.truncate(start)
        self._catch_up(file, start)

    def _catch_up(self, file: BinaryIO, start: int) -> None:
        """Hash the content of the file, which is necessary only after a restart."""
        file.seek(self._state.hashed)
        while self._state.hashed < start:
            self._state.add(file.read(min(CHUNK, start - self._state.hashed)))

    async def _append(self, file: BinaryIO, body: Body, save: Save) -> None:
        now = asyncio.get_running_loop().time
        former = self._state.digest.copy(), self._state.hashed
        saved, saved_at = self._state.hashed, now()
        async for block in body.blocks():
            await asyncio.to_thread(self._write, file, block)
            if self._state.hashed - saved >= CHECKPOINT_BYTES or now() - saved_at >= CHECKPOINT_SECONDS:
                await self._sync(file, save)
                saved, saved_at = self._state.hashed, now()
        if isinstance(body.ended, PayloadTooLarge):
            # Refused bytes are removed from the disk immediately. The bytes of earlier requests remain.
            self._state.digest, self._state.hashed = former
            await save(self._state.hashed, (), self._state.digest.hexdigest())
            await asyncio.to_thread(file.truncate, self._state.hashed)
            return
        await self._sync(file, save)

    async def _append_checked(self, file: BinaryIO, body: Body, save: Save, checksum: Checksum) -> None:
        former = self._state.digest.copy(), self._state.hashed
        # The body is written while it is checked, and cut off again if it is wrong: it may be larger than the memory.
        check = CHECKSUMS[checksum.algorithm]()
        async for block in body.blocks():
            await asyncio.to_thread(check.update, block)
            await asyncio.to_thread(self._write, file, block)
        matches = check.digest() == checksum.digest
        if body.ended is not None or not matches:
            self._state.digest, self._state.hashed = former
            await asyncio.to_thread(file.truncate, self._state.hashed)
            raise body.ended or ChecksumMismatch(
                "The received bytes do not match the checksum; send them again."
            )
        await self._sync(file, save)

    async def _sync(self, file: BinaryIO, save: Save) -> None:
        # Synced before the length is saved: the client never learns of bytes that a power failure could take.
        await asyncio.to_thread(os.fsync, file.fileno())
        reach("upload.synced")
        await save(self._state.hashed, (), self._state.digest.hexdigest())

    def _write(self, file: BinaryIO, block: bytes) -> None:
        reach("upload.writing")
        file.write(block)
        file.flush()
        self._state.add(block)
