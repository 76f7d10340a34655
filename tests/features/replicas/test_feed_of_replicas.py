"""One order of all messages on PostgreSQL, where a later number may be visible first, and on several replicas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from agent.coordinator.cluster import Alone
from agent.coordinator.features.replicas.bus import ReplicaBus
from agent.coordinator.features.replicas.store.database import PostgresDatabase
from agent.coordinator.feed.feed import NUMBER_BITS, Feed
from agent.coordinator.feed.hub import Hub, Subscription
from agent.coordinator.store import events
from agent.coordinator.store.events import NewEvent
from support.servers import postgres

pytestmark = pytest.mark.anyio

INSERT = "INSERT INTO events (type, account_id, job_id, data, created_at) VALUES ('job_update', 'account_1', 'job_1', %s, 0)"
LIMIT_SECONDS = 180


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def url() -> str:
    return postgres.shared().new_database()


@pytest.fixture
def database(url: str, tmp_path: Path) -> Iterator[PostgresDatabase]:
    database = PostgresDatabase(url, directory=tmp_path, writers=2, readers=2)
    yield database
    database.close()


def change(number: int) -> NewEvent:
    return NewEvent("job_update", {"number": number}, "account_1", job_id="job_1")


def token(number: int) -> NewEvent:
    return NewEvent("job_event", {"number": number}, "account_1", job_id="job_1")


@asynccontextmanager
async def running(feed: Feed) -> AsyncIterator[Subscription]:
    """Run a feed, with a subscription to the job."""
    task = asyncio.create_task(feed.run())
    try:
        async with feed.subscribe("job_1") as subscription:
            yield subscription
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def numbers(subscription: Subscription, count: int) -> list[int]:
    found = []
    async with asyncio.timeout(LIMIT_SECONDS):
        while len(found) < count:
            if (message := await subscription.next(LIMIT_SECONDS)) is not None:
                found.append(message["data"]["number"])
    return found


async def test_a_change_that_commits_late_is_published_before_later_numbers(
    database: PostgresDatabase, url: str
) -> None:
    feed = Feed(database, Hub())
    async with running(feed) as subscription:
        with psycopg.connect(url) as late:
            late.execute(INSERT, ['{"number": 1}'])
            await database.write(events.add, [change(2), change(3)], 0.0)
            assert await subscription.next(0.1) is None
            late.commit()
        assert await numbers(subscription, 3) == [1, 2, 3]


async def test_a_change_that_is_rolled_back_delays_others_only_until_then(
    database: PostgresDatabase, url: str
) -> None:
    """Writers that began later do not count."""
    feed = Feed(database, Hub())
    async with running(feed) as subscription:
        with psycopg.connect(url) as undone, psycopg.connect(url) as later:
            undone.execute(INSERT, ['{"number": 0}'])
            await database.write(events.add, [change(1)], 0.0)
            async with asyncio.timeout(LIMIT_SECONDS):
                while not feed._reader._writers:  # until the hole has been seen
                    assert await subscription.next(0.01) is None
            later.execute(INSERT, ['{"number": 2}'])
            undone.rollback()
            assert await numbers(subscription, 1) == [1]
            later.commit()
        assert await numbers(subscription, 1) == [2]


async def test_a_long_transaction_that_writes_no_changes_delays_nothing(
    database: PostgresDatabase, url: str
) -> None:
    feed = Feed(database, Hub())
    with psycopg.connect(url) as foreign, psycopg.connect(url) as undone:
        foreign.execute("CREATE TABLE foreign_table (number integer)")  # it has a transaction number
        async with running(feed) as subscription:
            undone.execute(INSERT, ['{"number": 0}'])
            undone.rollback()
            await database.write(events.add, [change(1)], 0.0)
            assert await numbers(subscription, 1) == [1]


async def test_the_first_subscriber_misses_no_change_that_commits_late(
    database: PostgresDatabase, url: str
) -> None:
    """Its subscription begins when no lower number than the newest can appear any more."""
    feed = Feed(database, Hub())
    with psycopg.connect(url) as late:
        late.execute(INSERT, ['{"number": 1}'])
        await database.write(events.add, [change(2)], 0.0)
        async with asyncio.TaskGroup() as group:

            async def subscribe() -> list[dict[str, int]]:
                async with feed.subscribe("job_1"):
                    return [stored.data for stored in await database.read(events.after, 0)]

            reading = group.create_task(subscribe())
            done, _ = await asyncio.wait([reading], timeout=0.1)
            assert not done
            late.commit()
        assert reading.result() == [{"number": 1}, {"number": 2}]


async def test_live_messages_of_another_replica_lie_between_the_changes_around_them(
    database: PostgresDatabase,
) -> None:
    """Also if they arrive before the change that they follow, or together with the next one."""

    def receive(after: int, number: int) -> None:
        item = token(number)
        data = [after, [[item.type, item.data, item.account_id, item.miner_id, item.job_id]]]
        bus.received("other", "live", data)

    async def drain() -> None:
        """The other replica sent these between the changes, and this one read the changes first."""
        receive(1, 2)
        receive(2, 4)

    cluster = Alone()
    cluster.bus = bus = ReplicaBus(drain)
    feed = Feed(database, Hub(), cluster=cluster)
    async with running(feed) as subscription:
        receive(3, 6)
        await database.write(events.add, [change(1), change(3), change(5)], 0.0)
        assert await numbers(subscription, 6) == [1, 2, 3, 4, 5, 6]


async def test_a_replica_recognises_numbers_of_others(database: PostgresDatabase) -> None:
    first, second = Alone(), Alone()
    second.slot = 1
    feeds = [Feed(database, Hub(), cluster=cluster) for cluster in (first, second)]
    await database.write(events.add, [change(1)], 0.0)
    for feed in feeds:
        await feed.publish([token(2)])
    seqs = [feed.seq for feed in feeds]
    assert [seq >> NUMBER_BITS for seq in seqs] == [1, 1]
    assert [[feed.is_foreign(seq) for seq in seqs] for feed in feeds] == [[False, True], [True, False]]
