"""Tells whoever watches of every change, in the order in which the changes happened.

Changes are rows that are written in the transaction of what they tell of (`lifecycle`). The feed reads the new ones after each
commit and hands them to the hub. So nothing is told that did not happen, nothing that happened is left out, and who was
away reads the rows that it missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog

from agent.coordinator.hub import Hub, Subscription
from agent.coordinator.store import events
from agent.coordinator.store.engine import Database
from agent.coordinator.store.events import StoredEvent

EVERYBODY: Final = "everybody"
"""The topic of changes that every caller may see."""
ALL: Final = "all"
"""The topic of all changes, for administrators."""
AGAIN_SECONDS: Final = 1.0
PAGE: Final = 1000

log = structlog.get_logger()


def account_topic(account_id: str) -> str:
    """The topic of what a client may see beside what everybody may."""
    return f"account:{account_id}"


def miner_topic(miner_id: str) -> str:
    """The topic of what a miner's owner may see beside what everybody may."""
    return f"miner:{miner_id}"


def topics(change: StoredEvent) -> list[str]:
    """Where a change is told."""
    found = [ALL, EVERYBODY if change.account_id is None else account_topic(change.account_id)]
    if change.miner_id is not None:
        found.append(miner_topic(change.miner_id))
    if change.job_id is not None:
        found.append(change.job_id)
    return found


class Feed:
    """Hands changes from the database to the hub while anybody watches. `run` is the loop."""

    def __init__(self, database: Database, hub: Hub) -> None:
        self._database = database
        self._hub = hub
        self._committed = asyncio.Event()
        # The newest change that was told. None: nobody watched, so that the changes before the next watcher are history.
        self._position: int | None = None

    @asynccontextmanager
    async def watch(self, *names: str) -> AsyncIterator[Subscription]:
        """Watch topics. What is read from the database inside is at least as new as the first message is old."""
        with self._hub.subscribe(*names) as subscription:
            newest = await self._database.read(events.newest)
            if self._position is None:
                self._position = newest
            yield subscription

    async def run(self) -> None:
        """Tell of changes until cancelled."""
        loop = asyncio.get_running_loop()

        def committed() -> None:
            with suppress(RuntimeError):  # the loop has been closed: nobody watches any more
                loop.call_soon_threadsafe(self._committed.set)

        self._database.after_commit(committed)
        while True:
            await self._committed.wait()
            self._committed.clear()
            try:
                await self._tell()
            except Exception:  # one bad read must not end the feed for good
                log.exception("feed_failed")
                await asyncio.sleep(AGAIN_SECONDS)
                self._committed.set()

    async def _tell(self) -> None:
        while self._position is not None:
            if not self._hub.watched:
                self._position = None
                return
            changes = await self._database.read(events.after, self._position, limit=PAGE)
            for change in changes:
                self._hub.publish(
                    {"type": change.type, "data": change.data, "seq": change.seq}, *topics(change)
                )
                self._position = change.seq
            if len(changes) < PAGE:
                return
