"""Tells whoever watches of everything, in one order, under numbers that only rise.

Changes are rows that are written in the transaction of what they tell of (`lifecycle`). The feed reads the new ones after each
commit and hands them to the hub. So nothing is told that did not happen, nothing that happened is left out, and who was
away reads the rows that it missed. What is only for those who watch (progress, tokens, previews) is not stored: it is told
between the changes, and the newest of it is kept in memory for those whose connection broke.

A change's number is the row's, shifted by `NUMBER_BITS`; what is told after it, before the next change, is counted in these bits.
"""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import ExitStack, asynccontextmanager
from itertools import islice
from typing import Final, NamedTuple

import structlog

from agent.coordinator.feed.hub import Filter, Hub, Message, Subscription
from agent.coordinator.store import events
from agent.coordinator.store.database import Database
from agent.coordinator.store.events import NewEvent, StoredEvent

EVERYBODY: Final = "everybody"
"""The topic of changes that every caller may see."""
ALL: Final = "all"
"""The topic of all changes, for administrators."""
NUMBER_BITS: Final = 20
"""A million messages between two changes; with them, four billion changes stay below the 2**53 of JavaScript's numbers."""
AGAIN_SECONDS: Final = 1.0
PAGE: Final = 1000
AT_ONCE: Final = 2**18

log = structlog.get_logger()


def account_topic(account_id: str) -> str:
    """The topic of what a client may see beside what everybody may."""
    return f"account:{account_id}"


def miner_topic(miner_id: str) -> str:
    """The topic of what a miner's owner may see beside what everybody may."""
    return f"miner:{miner_id}"


def topics(change: NewEvent) -> list[str]:
    """Where a change is told."""
    found = [ALL, EVERYBODY if change.account_id is None else account_topic(change.account_id)]
    if change.miner_id is not None:
        found.append(miner_topic(change.miner_id))
    if change.job_id is not None:
        found.append(change.job_id)
    return found


def message_of(change: StoredEvent) -> Message:
    """A change as it is told."""
    return {"type": change.type, "data": change.data, "seq": change.seq << NUMBER_BITS}


class _Kept(NamedTuple):
    seq: int
    message: Message
    topics: frozenset[str]
    size: int


class Recent:
    """The newest messages that are not stored. `lost_up_to` is the number of the newest one that is not kept any more."""

    def __init__(self, limit: int, size_limit: int) -> None:
        self.lost_up_to = 0
        self._limit = limit
        self._size_limit = size_limit
        self._kept: deque[_Kept] = deque()
        self._size = 0

    def add(self, message: Message, told: Collection[str], size: int) -> None:
        """Keep a message, whose number is the highest so far, with the topics under which it was told."""
        self._kept.append(_Kept(message["seq"], message, frozenset(told), size))
        self._size += size
        while len(self._kept) > self._limit or self._size > self._size_limit:
            oldest = self._kept.popleft()
            self._size -= oldest.size
            self.lost_up_to = oldest.seq

    def between(
        self, after: int, up_to: int, told: Collection[str], wanted: Filter
    ) -> tuple[list[Message], int]:
        """The messages of some topics in a range of numbers, and how far in the range they reach: at most `AT_ONCE` bytes."""
        found: list[Message] = []
        size = 0
        start = bisect_right(self._kept, after, key=lambda kept: kept.seq)
        for kept in islice(self._kept, start, None):
            if kept.seq > up_to:
                break
            if kept.topics.isdisjoint(told) or not wanted(kept.message):
                continue
            found.append(kept.message)
            size += kept.size
            if size >= AT_ONCE:
                return found, kept.seq
        return found, up_to


class Feed:
    """Hands changes from the database to the hub while anybody watches, and what is not stored between them.

    `run` is the loop. `recent` holds what is not stored.
    """

    def __init__(self, database: Database, hub: Hub, recent: Recent | None = None) -> None:
        self.recent = recent or Recent(limit=1000, size_limit=2**20)
        self._database = database
        self._hub = hub
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()
        # Whether there may be changes after `_position`, the newest change that was told, or that was there before anybody watched.
        self._behind = True
        self._position = 0
        self._count = 0

    @property
    def seq(self) -> int:
        """The number of what was told last: all that has a lower one has been told, or is history."""
        return (self._position << NUMBER_BITS) | self._count

    @property
    def crowded(self) -> bool:
        """Whether so much was told since the newest change that numbers get scarce before the next one."""
        return self._count >= 1 << (NUMBER_BITS - 1)

    @asynccontextmanager
    async def watch(self, *names: str) -> AsyncIterator[Subscription]:
        """Watch topics. What is read from the database inside is at least as new as the first message is old."""
        with ExitStack() as watching:
            async with self._turn:
                await self._catch_up()
                subscription = watching.enter_context(self._hub.subscribe(*names))
            yield subscription

    async def begin(self) -> None:
        """Go on after the newest change. Messages of an earlier process are lost, and numbers begin beyond its own."""
        async with self._turn:
            await self._catch_up()
            self.recent.lost_up_to = self.seq

    async def tell(self, passing: Sequence[NewEvent]) -> None:
        """Tell of what is not stored, after all changes that were committed before."""
        if not passing:
            return
        async with self._turn:
            await self._catch_up()
            for item in passing:
                self._pass_on(item)

    def _pass_on(self, item: NewEvent) -> None:
        if self._count >= (1 << NUMBER_BITS) - 1:
            # The upkeep stores a change long before. It could not, so the database takes nothing: nor does anybody else go on.
            self.recent.lost_up_to = self.seq
            return
        self._count += 1
        message = {"type": item.type, "data": item.data, "seq": self.seq}
        told, size = topics(item), len(json.dumps(item.data))
        self.recent.add(message, told, size)
        self._hub.publish(message, *told, size=size)

    async def run(self) -> None:
        """Tell of changes until cancelled."""
        self._database.after_commit(self._changed)
        self._changed()
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not self._hub.watched:
                continue
            try:
                async with self._turn:
                    await self._catch_up()
            except Exception:  # one bad read must not end the feed for good
                log.exception("feed_failed")
                await asyncio.sleep(AGAIN_SECONDS)
                self._wake.set()

    def _changed(self) -> None:
        self._behind = True
        self._wake.set()

    async def _catch_up(self) -> None:
        """Tell of all changes that are committed by now; where nobody watches, leave them to history."""
        while self._behind:
            self._behind = False
            try:
                if not self._hub.watched:
                    self._advance(await self._database.read(events.newest))
                    return
                changes = await self._database.read(events.after, self._position, limit=PAGE)
            except BaseException:
                self._behind = True
                raise
            for change in changes:
                self._advance(change.seq)
                self._hub.publish(message_of(change), *topics(change))
            self._behind = self._behind or len(changes) == PAGE

    def _advance(self, position: int) -> None:
        if position > self._position:
            self._position, self._count = position, 0
