"""Subscriptions: messages arrive in order, never block the publisher, and lost ones are reported."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from agent.coordinator.feed.hub import QUEUE_LIMIT, RESYNC, Hub

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_every_subscriber_gets_each_message_in_order() -> None:
    hub = Hub()
    with hub.subscribe("job_1") as one, hub.subscribe("job_1") as other, hub.subscribe("job_2") as elsewhere:
        for number in range(3):
            hub.publish({"number": number}, "job_1")
        for subscription in (one, other):
            assert [await subscription.next(1) for _ in range(3)] == [{"number": n} for n in range(3)]
        assert await elsewhere.next(0.01) is None


async def test_a_slow_subscriber_gets_the_queued_messages_and_then_one_gap() -> None:
    """The gap is reported once, and later messages arrive again."""
    hub = Hub()
    with hub.subscribe("job_1") as subscription:
        for number in range(QUEUE_LIMIT + 5):
            hub.publish({"number": number}, "job_1")
        queued = [await subscription.next(1) for _ in range(QUEUE_LIMIT)]
        assert queued == [{"number": number} for number in range(QUEUE_LIMIT)]
        assert await subscription.next(1) is RESYNC
        assert await subscription.next(0.01) is None
        hub.publish({"number": -1}, "job_1")
        assert await subscription.next(1) == {"number": -1}


async def test_lost_messages_are_one_gap_at_one_position() -> None:
    """Messages that arrive while the subscriber still reads its queue are lost as well, so that the gap is contiguous."""
    hub = Hub()
    with hub.subscribe("job_1") as subscription:
        for number in range(QUEUE_LIMIT + 1):
            hub.publish({"number": number}, "job_1")
        assert await subscription.next(1) == {"number": 0}
        hub.publish({"number": -1}, "job_1")
        rest = [await subscription.next(1) for _ in range(QUEUE_LIMIT)]
        assert rest == [*({"number": number} for number in range(1, QUEUE_LIMIT)), RESYNC]
        assert subscription.empty
        hub.publish({"number": -2}, "job_1")
        assert await subscription.next(1) == {"number": -2}
        assert subscription.empty


async def test_a_subscriber_that_left_is_forgotten() -> None:
    hub = Hub()
    with hub.subscribe("job_1") as subscription:
        pass
    hub.publish({}, "job_1")
    assert await subscription.next(0.01) is None
    assert not hub._topics


async def test_all_subscribers_share_one_limit_and_a_fast_one_loses_nothing() -> None:
    """A thousand slow subscribers together queue no more than the limit."""
    hub = Hub(total_size=1000)
    with ExitStack() as watching:
        slow = [watching.enter_context(hub.subscribe("job_1")) for _ in range(5)]
        quick = watching.enter_context(hub.subscribe("job_1"))
        for number in range(50):
            hub.publish({"number": number}, "job_1", size=100)
            assert await quick.next(1) == {"number": number}
        queued = []
        for subscription in slow:
            messages = []
            while (message := await subscription.next(0.01)) is not RESYNC:
                messages.append(message)
            queued.append(len(messages))
        assert sum(queued) <= 10 + len(slow)
    with hub.subscribe("job_1") as later:  # messages queued for subscribers that have left no longer count
        for number in range(9):
            hub.publish({"number": number}, "job_1", size=100)
        assert [await later.next(1) for _ in range(9)] == [{"number": number} for number in range(9)]
