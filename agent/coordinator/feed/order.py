"""Reads changes in the order of their numbers, each once.

SQLite commits one transaction at a time, so numbers become visible in their order. On PostgreSQL a transaction takes its number before it
commits, so a later number may be visible first. A reader that sees a hole asks who is writing changes: a writer holds its table lock from before it takes a
number until after its changes are visible. Once all that held it have ended, the missing numbers belong to transactions that
were rolled back. Transactions that write no changes, however long, delay nothing.
"""

from __future__ import annotations

import asyncio
from typing import Final

from agent.coordinator.store import events
from agent.coordinator.store.database import Database
from agent.coordinator.store.events import StoredEvent

PAGE: Final = 1000
SHORTEST_WAIT: Final = 0.002
LONGEST_WAIT: Final = 0.1


class ChangeReader:
    """Reads changes from a database. `ordered`: they become visible in the order of their numbers."""

    def __init__(self, database: Database) -> None:
        self.ordered = not database.concurrent
        self._database = database
        # No further number up to this one will appear.
        self._decided = 0
        # Who was writing when a hole was seen, and the newest number then.
        self._writers: frozenset[str] = frozenset()
        self._seen = 0

    async def newest(self) -> int:
        """Return the number of the newest visible change. Lower ones may still appear, unless changes are `ordered`."""
        return await self._database.read(events.newest)

    async def settled(self) -> int:
        """Return the number of the newest change once no lower one can appear."""
        newest = await self.newest()
        if self.ordered:
            return newest
        writers = await self._database.read(events.writers)
        wait = SHORTEST_WAIT
        while writers:
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)
            writers &= await self._database.read(events.writers)
        self._decided = max(self._decided, newest)
        return newest

    async def after(self, position: int) -> tuple[list[StoredEvent], bool]:
        """Return the changes after a number, oldest first, and whether more are known to follow. Waits while a hole comes first."""
        wait = SHORTEST_WAIT
        while True:
            changes = await self._database.read(events.after, position, limit=PAGE)
            ready = len(changes) if self.ordered else self._without_hole(position, changes)
            if ready == len(changes):
                return changes, len(changes) == PAGE
            if await self._is_decided(changes[-1].seq):
                continue
            if ready:
                return changes[:ready], True
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    def _without_hole(self, position: int, changes: list[StoredEvent]) -> int:
        """Return how many changes come before the first hole that may still be filled."""
        for index, change in enumerate(changes):
            if change.seq > max(position, self._decided) + 1:
                return index
            position = change.seq
        return len(changes)

    async def _is_decided(self, newest: int) -> bool:
        """Return whether the holes seen first are decided; the caller then reads again, on a later snapshot."""
        writers = await self._database.read(events.writers)
        if self._seen:
            self._writers &= writers
        else:
            self._seen, self._writers = newest, writers
        if self._writers:
            return False
        self._decided, self._seen = max(self._decided, self._seen), 0
        return True
