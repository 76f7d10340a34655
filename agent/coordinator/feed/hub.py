"""Publish and subscribe inside one coordinator: who watches something hears of it at once.

Queues are bounded, by messages and by bytes. A subscriber that is too slow loses messages and gets `RESYNC` in their place;
it then reads the state itself, which is always in the database.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

QUEUE_LIMIT: Final = 1024
"""Messages that wait for one subscriber: all that one call of a miner may bring, ten seconds of a fast LLM's tokens."""
QUEUE_SIZE: Final = 4 * 2**20
"""Bytes that wait for one subscriber, counted for messages that may be large."""
TOTAL_SIZE: Final = 256 * 2**20
"""Bytes that wait for all subscribers of a hub together."""

Message = Mapping[str, Any]
Filter = Callable[[Message], bool]

RESYNC: Final[Message] = {"type": "resync"}


class _Total:
    """The bytes that wait for all subscribers of a hub. A message counts once for each of them, although they share it."""

    __slots__ = ("limit", "size")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0


class Subscription:
    """The messages of its topics since the subscription began. `wanted` chooses among them; all without."""

    def __init__(
        self, limit: int = QUEUE_LIMIT, size_limit: int = QUEUE_SIZE, total: _Total | None = None
    ) -> None:
        self.wanted: Filter | None = None
        self._limit = limit
        self._size_limit = size_limit
        self._total = total or _Total(size_limit)
        self._waiting: deque[tuple[Message, int]] = deque()
        self._size = 0
        self._lagged = False
        self._woken = False
        self._news = asyncio.Event()

    @property
    def lagged(self) -> bool:
        """Whether messages were lost, and `RESYNC` has not been given in their place yet."""
        return self._lagged

    @property
    def empty(self) -> bool:
        """Whether everything that came has been given."""
        return not self._waiting and not self._lagged

    async def next(self, timeout: float) -> Message | None:  # noqa: ASYNC109 - a heartbeat's rhythm, not a deadline
        """The next message, `RESYNC` where messages were lost, or None: nothing for `timeout` seconds, or `wake`."""
        if self.empty and not self._woken:
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._news.wait()
        self._woken = False
        if self._waiting:
            message, size = self._waiting.popleft()
            self._size -= size
            self._total.size -= size
            return message
        if self._lagged:
            self._lagged = False
            return RESYNC
        return None

    def wake(self) -> None:
        """Have `next` return now, even with nothing."""
        self._woken = True
        self._news.set()

    def clear(self) -> None:
        """Forget what waits, and what was lost."""
        self._waiting.clear()
        self._total.size -= self._size
        self._size = 0
        self._lagged = False

    def put(self, message: Message, size: int = 0) -> None:
        """Add a message. Once one was lost, so are all until the subscriber has read what it has: one gap, in one place."""
        if self._lagged or (self.wanted is not None and not self.wanted(message)):
            return
        # Even with nothing left for all, whoever has taken everything gets one message: it keeps up.
        full = bool(self._waiting) and self._total.size + size > self._total.limit
        if full or len(self._waiting) >= self._limit or self._size + size > self._size_limit:
            self._lagged = True
        else:
            self._waiting.append((message, size))
            self._size += size
            self._total.size += size
        self._news.set()


class Hub:
    """Topics are strings: a job's id, or one of those that `feed` names. The limits are those of every subscription."""

    def __init__(
        self, limit: int = QUEUE_LIMIT, size_limit: int = QUEUE_SIZE, total_size: int = TOTAL_SIZE
    ) -> None:
        self._limits = limit, size_limit
        self._total = _Total(total_size)
        self._topics: defaultdict[str, set[Subscription]] = defaultdict(set)

    @property
    def watched(self) -> bool:
        """Whether anybody watches anything."""
        return bool(self._topics)

    def subscribers(self) -> int:
        """How many watch something."""
        return len(set[Subscription]().union(*self._topics.values()))

    def publish(self, message: Message, *topics: str, size: int = 0) -> None:
        """Hand a message once to everybody who watches one of the topics. Never waits. `size` is in bytes."""
        watching = [subscriptions for topic in topics if (subscriptions := self._topics.get(topic))]
        for subscription in set[Subscription]().union(*watching):
            subscription.put(message, size)

    @contextmanager
    def subscribe(self, *topics: str) -> Iterator[Subscription]:
        """Watch topics."""
        subscription = Subscription(*self._limits, self._total)
        for topic in topics:
            self._topics[topic].add(subscription)
        try:
            yield subscription
        finally:
            subscription.clear()
            for topic in topics:
                self._topics[topic].discard(subscription)
                if not self._topics[topic]:
                    del self._topics[topic]
