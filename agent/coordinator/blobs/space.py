"""Space that is reserved for uploads in progress, and the space that must stay free on the disk.

Reservations prevent parallel uploads from exceeding a quota together. They are in memory: a restart ends the requests that they
belong to. For resumable uploads of a known length and for direct uploads, the row in the database is the reservation.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterable
from pathlib import Path

from agent.core.errors import InsufficientStorage


class Space:
    """Reserved bytes by owner, and free space on the disks of `artifacts` and `database`. `reserve` is in bytes.

    `artifacts` is None if they are in no directory, so that their space is not known.

    Safe for use from several threads.
    """

    def __init__(self, artifacts: Path | None, database: Path, *, reserve: int) -> None:
        self._artifacts = artifacts
        self._database = database
        self._reserve = reserve
        self._lock = threading.Lock()
        self._held: dict[str, dict[asyncio.Event, int]] = {}

    def held(self, owner: str) -> int:
        """Return the bytes that are reserved for the owner's uploads in progress."""
        with self._lock:
            return sum(self._held.get(owner, {}).values())

    def hold(self, upload: asyncio.Event, owners: Iterable[str], size: int) -> None:
        """Reserve `size` more bytes of each owner for an upload, or release reserved ones (a negative `size`).

        `upload` is set whenever another upload of one of the owners ends.
        """
        with self._lock:
            for owner in owners:
                uploads = self._held.setdefault(owner, {})
                uploads[upload] = uploads.get(upload, 0) + size

    def end(self, upload: asyncio.Event, owners: Iterable[str]) -> None:
        """Release all bytes that are reserved for an upload. Call it in the event loop."""
        with self._lock:
            for owner in owners:
                uploads = self._held.get(owner, {})
                uploads.pop(upload, None)
                for other in uploads:
                    other.set()
                if not uploads:
                    self._held.pop(owner, None)

    def is_first_of_several(self, upload: asyncio.Event, owners: Iterable[str]) -> bool:
        """Return whether an owner has several uploads in progress, of which this one reserved first."""
        with self._lock:
            in_order = [list(self._held.get(owner, {})) for owner in owners]
        return any(len(uploads) > 1 and uploads[0] is upload for uploads in in_order)

    def check_disk(self, size: int) -> None:
        """Raise `InsufficientStorage` if `size` more bytes would use the reserve of the artifacts' disk."""
        if self._artifacts is not None:
            self._check(self._artifacts, size, "a file")

    def check_database(self, size: int) -> None:
        """Raise `InsufficientStorage` if `size` more bytes would use the reserve of the database's disk."""
        self._check(self._database, size, "a job")

    def _check(self, disk: Path, size: int, subject: str) -> None:
        if self._reserve and _free(disk) - size < self._reserve:
            raise InsufficientStorage(
                f"The coordinator's disk is nearly full, so it cannot store {subject} of this size now. Try again later, or ask the "
                "operator to free space."
            )

    @property
    def is_short(self) -> bool:
        """Whether a disk has less free space than the reserve."""
        disks = (path for path in (self._artifacts, self._database) if path is not None)
        return min(_free(path) for path in disks) < self._reserve


def _free(path: Path) -> int:
    filesystem = os.statvfs(path)
    return filesystem.f_bavail * filesystem.f_frsize
