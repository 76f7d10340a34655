"""Publish and subscribe inside one coordinator.

Queues are bounded by messages and by bytes. A subscriber that is too slow loses messages and gets `RESYNC` instead. It then reads
the state from the database, which always has it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

QUEUE_LIMIT: Final = 1024
"""Messages queued for one subscriber: as many as one call of a miner may publish, or ten seconds of a fast LLM's tokens."""
QUEUE_SIZE: Final = 4 * 2**20
"""Bytes queued for one subscriber. Only messages that may be large are counted."""
TOTAL_SIZE: Final = 256 * 2**20
"""Bytes queued for all subscribers of a hub together."""

Message = Mapping[str, Any]
Filter = Callable[[Message], bool]

RESYNC: Final[Message] = {"type": "resync"}


class _Total:
    """The bytes queued for all subscribers of a hub. A message counts once for each of them, although they share it."""

    __slots__ = ("limit", "size")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0


class Subscription:
    """The messages of its topics since the subscription began. With `accepts`, only those that it returns True for."""

    def __init__(
        self, limit: int = QUEUE_LIMIT, size_limit: int = QUEUE_SIZE, total: _Total | None = None
    ) -> None:
        self.accepts: Filter | None = None
        self._limit = limit
        self._size_limit = size_limit
        self._total = total or _Total(size_limit)
        self._queue: deque[tuple[Message, int]] = deque()
        self._size = 0
        self._lagged = False
        self._woken = False
        self._news = asyncio.Event()

    @property
    def lagged(self) -> bool:
        """Whether messages were lost and `RESYNC` has not been returned for them yet."""
        return self._lagged

    @property
    def empty(self) -> bool:
        """Whether every message has been returned."""
        return not self._queue and not self._lagged

    async def next(self, timeout: float) -> Message | None:  # noqa: ASYNC109 - a heartbeat's interval, not a deadline
        """Return the next message, `RESYNC` if messages were lost, or None after `timeout` seconds or a `wake`."""
        if self.empty and not self._woken:
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._news.wait()
        self._woken = False
        if self._queue:
            message, size = self._queue.popleft()
            self._size -= size
            self._total.size -= size
            return message
        if self._lagged:
            self._lagged = False
            return RESYNC
        return None

    def wake(self) -> None:
        """Make `next` return now, even without a message."""
        self._woken = True
        self._news.set()

    def clear(self) -> None:
        """Discard queued messages, and forget that any were lost."""
        self._queue.clear()
        self._total.size -= self._size
        self._size = 0
        self._lagged = False

    def lose(self) -> None:
        """Return `RESYNC` after the queued messages, because others were lost."""
        self._lagged = True
        self._news.set()

    def put(self, message: Message, size: int = 0) -> None:
        """Queue a message. Once one is lost, so are all others until the queue is empty, so that there is a single gap."""
        if self._lagged or (self.accepts is not None and not self.accepts(message)):
            return
        # Even beyond the total, a subscriber with an empty queue gets one message, because it keeps up.
        full = bool(self._queue) and self._total.size + size > self._total.limit
        if full or len(self._queue) >= self._limit or self._size + size > self._size_limit:
            self._lagged = True
        else:
            self._queue.append((message, size))
            self._size += size
            self._total.size += size
        self._news.set()


class Hub:
    """Subscriptions by topic. A topic is a job's id or one that `feed` defines. The limits apply to each subscription."""

    def __init__(
        self, limit: int = QUEUE_LIMIT, size_limit: int = QUEUE_SIZE, total_size: int = TOTAL_SIZE
    ) -> None:
        self._limits = limit, size_limit
        self._total = _Total(total_size)
        self._topics: defaultdict[str, set[Subscription]] = defaultdict(set)
        self._watchers = 0

    @property
    def has_subscribers(self) -> bool:
        """Whether there are any subscribers, or one is about to subscribe."""
        return bool(self._topics) or self._watchers > 0

    @contextmanager
    def watched(self) -> Iterator[bool]:
        """Count as a subscriber. Yield whether there was none before."""
        first = not self.has_subscribers
        self._watchers += 1
        try:
            yield first
        finally:
            self._watchers -= 1

    def lose(self) -> None:
        """Have every subscriber continue from the database, because messages were lost."""
        for subscription in set[Subscription]().union(*self._topics.values()):
            subscription.lose()

    def subscribers(self) -> int:
        """Return the number of subscribers."""
        return len(set[Subscription]().union(*self._topics.values()))

    def publish(self, message: Message, *topics: str, size: int = 0) -> None:
        """Queue a message once for every subscriber of any of the topics. Never waits. `size` is in bytes."""
        subscribed = [subscriptions for topic in topics if (subscriptions := self._topics.get(topic))]
        for subscription in set[Subscription]().union(*subscribed):
            subscription.put(message, size)

    @contextmanager
    def subscribe(self, *topics: str) -> Iterator[Subscription]:
        """Subscribe to topics."""
        subscription = Subscription(*self._limits, self._total)
        for topic in topics:
            self._topics[topic].add(subscription)
        try:
            yield subscription
        finally:
            # Its messages no longer count to the total, which the other subscribers share.
            subscription.clear()
            for topic in topics:
                self._topics[topic].discard(subscription)
                # Each job is a topic, so empty ones would add up.
                if not self._topics[topic]:
                    del self._topics[topic]
