"""The windows in which calls are counted, with a fake clock."""

from __future__ import annotations

import asyncio
import math

from limits import RateLimitItemPerSecond
from limits.aio.strategies import FixedWindowRateLimiter

from agent.coordinator.features.rate_limits.windows import SHARE_SECONDS, WindowStorage
from agent.coordinator.features.replicas.bus import ReplicaBus


async def nothing_to_drain() -> None:
    pass


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_window_begins_with_the_first_call_and_ends_when_it_is_due() -> None:
    async def play() -> None:
        clock = Clock()
        limiter = FixedWindowRateLimiter(WindowStorage(10, clock))
        item = RateLimitItemPerSecond(2, 10)
        assert [await limiter.hit(item, "a") for _ in range(3)] == [True, True, False]
        assert await limiter.hit(item, "b")
        clock.now += 4
        assert await limiter.get_window_stats(item, "a") == (1010.0, 0)
        assert not await limiter.hit(item, "a")
        clock.now = 1009.999
        assert not await limiter.hit(item, "a")
        clock.now = 1010
        assert await limiter.hit(item, "a")
        assert await limiter.get_window_stats(item, "a") == (1020.0, 1)

    asyncio.run(play())


def test_memory_is_bounded_and_expired_windows_are_dropped_first() -> None:
    async def play() -> None:
        clock = Clock()
        storage = WindowStorage(100, clock)
        for number in range(1000):
            await storage.incr(f"flood {number}", 60)
        assert len(storage) == 100
        assert await storage.get("flood 999") == 1
        assert await storage.get("flood 899") == 0
        clock.now += 60
        for number in range(60):
            await storage.incr(f"later {number}", 60)
        assert len(storage) <= 100
        assert all([await storage.get(f"later {number}") == 1 for number in range(60)])

    asyncio.run(play())


def test_replicas_count_the_calls_of_each_other() -> None:
    """A caller that changes between replicas has one budget, apart from the calls of the last quarter of a second."""

    async def play() -> None:
        clock, buses = Clock(), [ReplicaBus(nothing_to_drain), ReplicaBus(nothing_to_drain)]
        for bus in buses:
            bus.set_peers(frozenset({"other"}))
        first, second = (FixedWindowRateLimiter(WindowStorage(10, clock, bus)) for bus in buses)
        item = RateLimitItemPerSecond(3, 10)
        assert await first.hit(item, "a")
        assert await first.hit(item, "a")
        clock.now += 4
        await asyncio.sleep(2 * SHARE_SECONDS)
        for to, kind, data in buses[0].take()[0]:
            assert to is None
            buses[1].received("first", kind, data)
        assert await second.get_window_stats(item, "a") == (1010.0, 1)
        assert [await second.hit(item, "a") for _ in range(2)] == [True, False]

    asyncio.run(play())


def test_attack_another_replica_begins_no_window_longer_than_the_longest() -> None:
    """The caller would be refused for ever. Numbers below 1 are not counted, nor those that are none."""

    async def play() -> None:
        clock, bus = Clock(), ReplicaBus(nothing_to_drain)
        limiter = FixedWindowRateLimiter(WindowStorage(10, clock, bus, longest=10))
        item = RateLimitItemPerSecond(3, 10)
        key = item.key_for("a")
        for calls in ([[key, 5, math.inf]], [[key, -5, 10]], [[key, "5", {}]], [[[key], 5, 10]], [None], "x"):
            bus.received("liar", "calls", calls)
        assert await limiter.test(item, "a")
        bus.received("liar", "calls", [[key, 5, 1e300]])
        assert not await limiter.hit(item, "a")
        clock.now += 10
        assert await limiter.hit(item, "a")

    asyncio.run(play())
