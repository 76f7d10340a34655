"""What a replica knows of unfinished jobs (`store.unfinished`)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from agent.coordinator.store import unfinished
from agent.coordinator.store.database import Database
from agent.coordinator.store.unfinished import RECENT_SECONDS, Unfinished
from agent.core.values.quantities import make_id

SHARE: Final = 0.02
"""Maximum share of the time that whole scans take. While one is slow, the next ones read only what has changed."""


class UnfinishedJobs:
    """Scans for unfinished jobs. `known` are those of the last scan, or None: then queries do without."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock
        self._whole_at = 0.0
        self.known: Unfinished | None = None

    async def scan(self) -> None:
        """Scan once. On SQLite, indexes have nothing that queries would have to pass. If it fails, what is known remains right."""
        started = time.monotonic()
        due = started >= self._whole_at
        if not self._database.concurrent or (self.known is None and not due):
            return
        since = make_id("job", self._clock() - RECENT_SECONDS, bytes(10))
        # If the clock was set back, the last scan does not reach back as far as it must.
        is_full_scan = due or self.known is None or since < self.known.since
        self.known = await self._database.read(unfinished.scan, since, None if is_full_scan else self.known)
        if is_full_scan:
            now = time.monotonic()
            self._whole_at = now + (now - started) / SHARE
