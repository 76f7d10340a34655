"""Publish and subscribe inside one coordinator: who watches something hears of it at once.

Queues are bounded. A subscriber that is too slow loses messages and gets `RESYNC` in their place; it then reads the state
itself, which is always in the database.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

QUEUE_LIMIT: Final = 1024
"""Messages that wait for one subscriber: all that one call of a miner may bring, ten seconds of a fast LLM's tokens."""

Message = Mapping[str, Any]

RESYNC: Final[Message] = {"type": "resync"}


class Subscription:
    """The messages of its topics since the subscription began."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Message] = asyncio.Queue(QUEUE_LIMIT)
        self._lagged = False

    async def next(self, timeout: float) -> Message | None:  # noqa: ASYNC109 - a heartbeat's rhythm, not a deadline
        """The next message, `RESYNC` where messages were lost, or None if there is none for `timeout` seconds."""
        if self._lagged and self._queue.empty():
            self._lagged = False
            return RESYNC
        try:
            return await asyncio.wait_for(self._queue.get(), timeout)
        except TimeoutError:
            return None

    def waiting(self) -> Iterator[Message]:
        """The messages that are there already, `RESYNC` included."""
        while not self._queue.empty():
            yield self._queue.get_nowait()
        if self._lagged:
            self._lagged = False
            yield RESYNC

    def put(self, message: Message) -> None:
        """Add a message. Once one was lost, so are all until the subscriber has read what it has: one gap, in one place."""
        if self._lagged:
            return
        try:
            self._queue.put_nowait(message)
        except asyncio.QueueFull:
            self._lagged = True


class Hub:
    """Topics are strings: a job's id, or one of those that `feed` names."""

    def __init__(self) -> None:
        self._topics: defaultdict[str, set[Subscription]] = defaultdict(set)

    @property
    def watched(self) -> bool:
        """Whether anybody watches anything."""
        return bool(self._topics)

    def publish(self, message: Message, *topics: str) -> None:
        """Hand a message once to everybody who watches one of the topics. Never waits."""
        watching = [subscriptions for topic in topics if (subscriptions := self._topics.get(topic))]
        for subscription in set[Subscription]().union(*watching):
            subscription.put(message)

    @contextmanager
    def subscribe(self, *topics: str) -> Iterator[Subscription]:
        """Watch topics."""
        subscription = Subscription()
        for topic in topics:
            self._topics[topic].add(subscription)
        try:
            yield subscription
        finally:
            for topic in topics:
                self._topics[topic].discard(subscription)
                if not self._topics[topic]:
                    del self._topics[topic]
