"""Space that uploads in progress were promised, and what the disk must keep free.

Promises keep parallel uploads from exceeding a quota together. They live in memory: a restart ends the requests that they
were made to, and `ArtifactDirectory.open` removes their bytes. Resumable uploads of a known length are promised theirs by
their row in the database instead.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from agent.core.errors import InsufficientStorage


class Space:
    """Promised bytes by owner, and free space on the disks of `artifacts` and `database`; `reserve` is bytes.

    Safe for use from several threads.
    """

    def __init__(self, artifacts: Path, database: Path, *, reserve: int) -> None:
        self._artifacts = artifacts
        self._database = database
        self._reserve = reserve
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()

    def held(self, owner: str) -> int:
        """Bytes that the owner's uploads in progress were promised."""
        return self._held[owner]

    def hold(self, owners: Iterable[str], size: int) -> None:
        """Promise `size` more bytes, or take promised ones back (a negative `size`)."""
        with self._lock:
            for owner in owners:
                self._held[owner] += size
                if self._held[owner] <= 0:
                    del self._held[owner]

    def check_disk(self, size: int) -> None:
        """Raise `InsufficientStorage` if `size` more bytes would eat into the reserve of the artifacts' disk."""
        if self._reserve and _free(self._artifacts) - size < self._reserve:
            raise InsufficientStorage(
                "The coordinator's disk is nearly full, so it stores no file of this size now. Try again later, or ask the "
                "operator to make room."
            )

    @property
    def is_short(self) -> bool:
        """Whether a disk has less left than the reserve."""
        return min(_free(self._artifacts), _free(self._database)) < self._reserve


def _free(path: Path) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize
