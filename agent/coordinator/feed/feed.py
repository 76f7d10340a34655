"""Publishes every state change to subscribers in commit order, under rising numbers.

A change is a row, written in the transaction that makes the change (`lifecycle`). The feed reads new rows after each commit
and passes them to the hub. So it publishes exactly what happened, and a subscriber that was disconnected reads the rows that it
missed. Live messages (progress, tokens, previews) are not stored: the feed publishes them between changes, and the newest are
retained in memory for subscribers whose connection broke.

A change's number is that of its row, shifted by `NUMBER_BITS`. These bits count the live messages until the next change.

With several replicas, each publishes all changes, in the same order, and all live messages, which it receives over the bus with the number of the
change that they follow. It counts the live messages itself, so the upper `SLOT_BITS` of the lower bits say which replica has counted: a stream that
resumes on another replica continues with the next change exactly, and learns that live messages may be missing.
"""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_right, insort
from collections import deque
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from itertools import islice
from typing import Annotated, Any, Final, Literal, NamedTuple

import structlog
from pydantic import AfterValidator, Field

from agent.coordinator.cluster import Alone, Cluster
from agent.coordinator.feed.hub import Filter, Hub, Message, Subscription
from agent.coordinator.feed.order import ChangeReader
from agent.coordinator.store.database import Content, Database
from agent.coordinator.store.events import NewEvent, StoredEvent, mark
from agent.protocol.messages import shallow
from runners.plain_json import MAX_DEPTH

EVERYBODY: Final = "everybody"
"""The topic of changes that every caller may see."""
ALL: Final = "all"
"""The topic of all changes, for administrators."""
NUMBER_BITS: Final = 20
"""A million live messages between two changes. Four billion changes then stay below the 2**53 of JavaScript's numbers."""
SLOT_BITS: Final = 5
"""Bits of a number for the replica that has counted, if there can be several. 32,768 live messages between two changes then remain."""
RETRY_SECONDS: Final = 1.0
POLL_SECONDS: Final = 1.0
"""Interval at which changes of other replicas are read without a signal."""
PAGE_BYTES: Final = 2**18
HELD_LIMIT: Final = 20_000
"""Live messages that wait for the change that they follow."""
CHANGES: Final = "changes"
"""The signal to other replicas that changes were committed."""

log = structlog.get_logger()


def account_topic(account_id: str) -> str:
    """Return the topic of what a client may see in addition to what every caller may."""
    return f"account:{account_id}"


def miner_topic(miner_id: str) -> str:
    """Return the topic of what a miner's owner may see in addition to what every caller may."""
    return f"miner:{miner_id}"


def topics(change: NewEvent) -> list[str]:
    """Return the topics that a change or message is published to."""
    topic_names = [ALL, EVERYBODY if change.account_id is None else account_topic(change.account_id)]
    if change.miner_id is not None:
        topic_names.append(miner_topic(change.miner_id))
    if change.job_id is not None:
        topic_names.append(change.job_id)
    return topic_names


_Position = Annotated[int, Field(ge=0, le=2**53 - 1)]
_Live = tuple[
    Literal["job_progress", "job_event"],
    Annotated[dict[str, Any], AfterValidator(lambda data: shallow(data, 2 * MAX_DEPTH))],
    str | None,
    str | None,
    str | None,
]
"""A live message of another replica: the fields of `NewEvent`."""


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
        self, after_seq: int, up_to: int, topics: Collection[str], accepts: Filter
    ) -> tuple[list[Message], int]:
        """Return up to `PAGE_BYTES` of the topics' messages in a range of numbers, and how far in the range they reach."""
        messages: list[Message] = []
        size = 0
        start = bisect_right(self._retained, after_seq, key=lambda item: item.seq)
        for item in islice(self._retained, start, None):
            if item.seq > up_to:
                break
            if item.topics.isdisjoint(topics) or not accepts(item.message):
                continue
            messages.append(item.message)
            size += item.size
            if size >= PAGE_BYTES:
                return messages, item.seq
        return messages, up_to


class _Held(NamedTuple):
    """A live message, and the number of the change that it follows."""

    after_seq: int
    item: NewEvent


class Feed:
    """Passes changes from the database to the hub while there are subscribers, and live messages between them.

    `run` is the loop. `recent` retains live messages.
    """

    def __init__(
        self, database: Database, hub: Hub, recent: Recent | None = None, cluster: Cluster | None = None
    ) -> None:
        self.recent = recent or Recent(limit=1000, size_limit=2**20)
        self._database = database
        self.hub = hub
        self._cluster = cluster or Alone()
        self._reader = ChangeReader(database)
        self._shared = not self._reader.ordered
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()
        # Whether there may be changes after `_position`, the newest change that was published or skipped without subscribers.
        self._behind = True
        self._position = 0
        self._count = 0
        self._slot = 0
        self._held: list[_Held] = []
        bus = self._cluster.bus
        bus.on_signal(CHANGES, self._changed)
        bus.handle("live", self._received, tuple[_Position, list[_Live]])
        bus.on_lost(self._lost)

    @property
    def seq(self) -> int:
        """The number of the latest message. Everything with a lower number has been published or is history."""
        return self._number(self._position) | self._count

    @property
    def crowded(self) -> bool:
        """Whether half of the numbers before the next change are used up, or they are another replica's by now."""
        return self._count >= self._counts // 2 or self._slot != self._cluster.slot

    @property
    def _counts(self) -> int:
        return 1 << (NUMBER_BITS - SLOT_BITS if self._shared else NUMBER_BITS)

    def _number(self, position: int) -> int:
        return (position << NUMBER_BITS) | (self._slot * self._counts)

    def is_foreign(self, seq: int) -> bool:
        """Return whether another replica has counted the live messages up to this number."""
        return self._shared and seq > 0 and seq % (1 << NUMBER_BITS) // self._counts != self._slot

    def message_of(self, change: StoredEvent) -> Message:
        """Return a change as it is published."""
        return {"type": change.type, "data": change.data, "seq": self._number(change.seq)}

    @asynccontextmanager
    async def subscribe(self, *names: str) -> AsyncIterator[Subscription]:
        """Subscribe to topics. Reads from the database inside the context include all changes before the first message."""
        with ExitStack() as watching:
            async with self._turn:
                if self._shared:
                    await self._begin(watching.enter_context(self.hub.watched()))
                else:
                    await self._catch_up()
                subscription = watching.enter_context(self.hub.subscribe(*names))
            yield subscription

    async def _begin(self, first: bool) -> None:
        """Publish the changes that are visible now, or skip them for the first subscriber."""
        if first:
            self._advance(await self._reader.settled())
            self._publish_held()
            return
        newest = await self._reader.newest()
        while self._position < newest:
            self._behind = True
            await self._publish_some()

    async def begin(self, now: float) -> None:
        """Continue after the newest change. Live messages of an earlier process are lost, and numbers start beyond its own."""
        await self._database.write(mark, now)
        async with self._turn:
            await self._catch_up()
            self.recent.lost_up_to = self.seq

    async def keep_numbers(self, now: float) -> None:
        """Reserve more numbers if those between two stored changes are nearly used up."""
        if self.crowded:
            await self._database.write(mark, now)

    async def publish(self, live: Sequence[NewEvent]) -> None:
        """Publish live messages after all changes that were committed before, and before all that are committed later."""
        if not live:
            return
        if self._shared:
            newest = await self._reader.newest()
            if not self.hub.has_subscribers:
                self._advance(newest)
            self._hold(newest, live)
            self._cluster.bus.send("live", [newest, [_packed(item) for item in live]])
            # The caller's next write may be a change: it must not overtake this message on other replicas.
            await self._cluster.bus.flushed()
            return
        async with self._turn:
            await self._catch_up()
            for item in live:
                self._publish_live(item)

    def _received(self, _: str, data: Any) -> None:
        newest, live = data
        self._hold(newest, [NewEvent(*item) for item in live])

    def _hold(self, after_seq: int, live: Sequence[NewEvent]) -> None:
        """Publish live messages once the change that they follow has been published, or is history because there are no subscribers."""
        # The change that they wait for was lost or comes very late. Subscribers learn of the gap and read the state again.
        if len(self._held) > HELD_LIMIT:
            self._held.clear()
            self._lost()
        for item in live:
            insort(self._held, _Held(after_seq, item), key=lambda waiting: waiting.after_seq)
        self._publish_held()
        if self._held:
            self._changed()

    def _publish_held(self) -> None:
        ready = bisect_right(self._held, self._position, key=lambda waiting: waiting.after_seq)
        for waiting in self._held[:ready]:
            self._publish_live(waiting.item)
        del self._held[:ready]

    def _publish_live(self, item: NewEvent) -> None:
        if self._count >= self._counts - 1:
            # The upkeep stores a change long before this happens. If it cannot, the database fails for everyone.
            self.recent.lost_up_to = self.seq
            return
        self._count += 1
        message = {"type": item.type, "data": item.data, "seq": self.seq}
        targets, size = topics(item), len(json.dumps(item.data))
        self.recent.add(message, targets, size)
        self.hub.publish(message, *targets, size=size)

    async def run(self) -> None:
        """Publish changes until cancelled."""
        self._database.after_commit(Content.CHANGES, self._committed)
        self._changed()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS if self._shared else None):
                    await self._wake.wait()
            self._wake.clear()
            # The signals of other replicas may be lost, so every round reads.
            self._behind = self._behind or self._shared
            if not self.hub.has_subscribers and not self._held:
                continue
            try:
                while self._behind:
                    async with self._turn:
                        await self._publish_some()
            except Exception:  # the loop survives a read that fails
                log.exception("feed_failed")
                await asyncio.sleep(RETRY_SECONDS)
                self._wake.set()

    def _committed(self) -> None:
        self._changed()
        self._cluster.bus.signal(CHANGES)

    def _changed(self) -> None:
        self._behind = True
        self._wake.set()

    def _lost(self) -> None:
        """Have every stream continue from the database, because live messages may be missing."""
        self.recent.lost_up_to = self.seq
        self.hub.lose()

    async def _catch_up(self) -> None:
        while self._behind:
            await self._publish_some()

    async def _publish_some(self) -> None:
        """Publish a page of the changes committed so far, or skip all if there are no subscribers."""
        self._behind = False
        try:
            if not self.hub.has_subscribers:
                waiting = self._held[:]
                self._advance(await self._reader.newest())
                self._publish_held()
                # Another replica has seen the change that its live messages follow. Those that follow any other are not true.
                untrue = {id(item) for item in waiting}
                self._held = [item for item in self._held if id(item) not in untrue]
                return
            changes, more_remain = await self._reader.after(self._position)
            if changes and self._shared:
                # Live messages that were sent before these changes were committed have arrived then.
                await self._cluster.bus.drain()
        except BaseException:
            self._behind = True
            raise
        for change in changes:
            if self._held and change.seq > self._position + 1:
                self._advance(change.seq - 1)
                self._publish_held()
            self._advance(change.seq)
            self.hub.publish(self.message_of(change), *topics(change))
            self._publish_held()
        self._behind = self._behind or more_remain

    def _advance(self, position: int) -> None:
        if position > self._position:
            self._position, self._count = position, 0
            self._slot = self._cluster.slot


def _packed(item: NewEvent) -> tuple[Any, ...]:
    return item.type, item.data, item.account_id, item.miner_id, item.job_id
