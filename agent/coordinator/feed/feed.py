"""Publishes every state change to subscribers in commit order, under rising numbers.

A change is a row, written in the transaction that makes the change (`lifecycle`). The feed reads new rows after each commit
and passes them to the hub. So it publishes exactly what happened, and a subscriber that was disconnected reads the rows that it
missed. Live messages (progress, tokens, previews) are not stored: the feed publishes them between changes, and the newest are
retained in memory for subscribers whose connection broke.

A change's number is that of its row, shifted by `NUMBER_BITS`. These bits count the live messages until the next change.
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
"""A million live messages between two changes. Four billion changes then stay below the 2**53 of JavaScript's numbers."""
RETRY_SECONDS: Final = 1.0
PAGE: Final = 1000
PAGE_BYTES: Final = 2**18

log = structlog.get_logger()


def account_topic(account_id: str) -> str:
    """Return the topic of what a client may see in addition to what every caller may."""
    return f"account:{account_id}"


def miner_topic(miner_id: str) -> str:
    """Return the topic of what a miner's owner may see in addition to what every caller may."""
    return f"miner:{miner_id}"


def topics(change: NewEvent) -> list[str]:
    """Return the topics that a change or message is published to."""
    found = [ALL, EVERYBODY if change.account_id is None else account_topic(change.account_id)]
    if change.miner_id is not None:
        found.append(miner_topic(change.miner_id))
    if change.job_id is not None:
        found.append(change.job_id)
    return found


def message_of(change: StoredEvent) -> Message:
    """Return a change as it is published."""
    return {"type": change.type, "data": change.data, "seq": change.seq << NUMBER_BITS}


class _Retained(NamedTuple):
    seq: int
    message: Message
    topics: frozenset[str]
    size: int


class Recent:
    """The newest live messages. `lost_up_to` is the number of the newest one that is no longer retained."""

    def __init__(self, limit: int, size_limit: int) -> None:
        self.lost_up_to = 0
        self._limit = limit
        self._size_limit = size_limit
        self._retained: deque[_Retained] = deque()
        self._size = 0

    def add(self, message: Message, topics: Collection[str], size: int) -> None:
        """Retain a message, whose number is the highest so far, and the topics that it was published to."""
        self._retained.append(_Retained(message["seq"], message, frozenset(topics), size))
        self._size += size
        while len(self._retained) > self._limit or self._size > self._size_limit:
            oldest = self._retained.popleft()
            self._size -= oldest.size
            self.lost_up_to = oldest.seq

    def between(
        self, after: int, up_to: int, topics: Collection[str], accepts: Filter
    ) -> tuple[list[Message], int]:
        """Return up to `PAGE_BYTES` of the topics' messages in a range of numbers, and how far in the range they reach."""
        found: list[Message] = []
        size = 0
        start = bisect_right(self._retained, after, key=lambda item: item.seq)
        for item in islice(self._retained, start, None):
            if item.seq > up_to:
                break
            if item.topics.isdisjoint(topics) or not accepts(item.message):
                continue
            found.append(item.message)
            size += item.size
            if size >= PAGE_BYTES:
                return found, item.seq
        return found, up_to


class Feed:
    """Passes changes from the database to the hub while there are subscribers, and live messages between them.

    `run` is the loop. `recent` retains live messages.
    """

    def __init__(self, database: Database, hub: Hub, recent: Recent | None = None) -> None:
        self.recent = recent or Recent(limit=1000, size_limit=2**20)
        self._database = database
        self._hub = hub
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()
        # Whether there may be changes after `_position`, the newest change that was published or skipped without subscribers.
        self._behind = True
        self._position = 0
        self._count = 0

    @property
    def seq(self) -> int:
        """The number of the latest message. Everything with a lower number has been published or is history."""
        return (self._position << NUMBER_BITS) | self._count

    @property
    def crowded(self) -> bool:
        """Whether half of the numbers before the next change are used up."""
        return self._count >= 1 << (NUMBER_BITS - 1)

    @asynccontextmanager
    async def subscribe(self, *names: str) -> AsyncIterator[Subscription]:
        """Subscribe to topics. Reads from the database inside the context include all changes before the first message."""
        with ExitStack() as watching:
            async with self._turn:
                await self._catch_up()
                subscription = watching.enter_context(self._hub.subscribe(*names))
            yield subscription

    async def begin(self) -> None:
        """Continue after the newest change. Live messages of an earlier process are lost, and numbers start beyond its own."""
        async with self._turn:
            await self._catch_up()
            self.recent.lost_up_to = self.seq

    async def publish(self, live: Sequence[NewEvent]) -> None:
        """Publish live messages after all changes that were committed before."""
        if not live:
            return
        async with self._turn:
            await self._catch_up()
            for item in live:
                self._publish_live(item)

    def _publish_live(self, item: NewEvent) -> None:
        if self._count >= (1 << NUMBER_BITS) - 1:
            # The upkeep stores a change long before this happens. If it cannot, the database fails for everyone.
            self.recent.lost_up_to = self.seq
            return
        self._count += 1
        message = {"type": item.type, "data": item.data, "seq": self.seq}
        targets, size = topics(item), len(json.dumps(item.data))
        self.recent.add(message, targets, size)
        self._hub.publish(message, *targets, size=size)

    async def run(self) -> None:
        """Publish changes until cancelled."""
        self._database.after_commit(self._changed)
        self._changed()
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not self._hub.has_subscribers:
                continue
            try:
                async with self._turn:
                    await self._catch_up()
            except Exception:  # the loop survives a read that fails
                log.exception("feed_failed")
                await asyncio.sleep(RETRY_SECONDS)
                self._wake.set()

    def _changed(self) -> None:
        self._behind = True
        self._wake.set()

    async def _catch_up(self) -> None:
        """Publish all changes committed so far, or skip them if there are no subscribers."""
        while self._behind:
            self._behind = False
            try:
                if not self._hub.has_subscribers:
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
