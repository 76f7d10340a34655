"""Space that is reserved for uploads in progress, and the space that must stay free on the disk.

Reservations prevent parallel uploads from exceeding a quota together. They are in memory: a restart ends the requests that they
belong to. For resumable uploads of a known length and for direct uploads, the row in the database is the reservation.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
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
        self._held: Counter[str] = Counter()

    def held(self, owner: str) -> int:
        """Return the bytes that are reserved for the owner's uploads in progress."""
        return self._held[owner]

    def hold(self, owners: Iterable[str], size: int) -> None:
        """Reserve `size` more bytes for each owner, or release reserved ones (a negative `size`)."""
        with self._lock:
            for owner in owners:
                self._held[owner] += size
                if self._held[owner] <= 0:
                    del self._held[owner]

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
