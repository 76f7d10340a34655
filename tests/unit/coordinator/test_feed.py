"""One order of all messages: changes in commit order, and live messages between them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agent.coordinator.feed import feed
from agent.coordinator.feed.feed import NUMBER_BITS, Feed, Recent
from agent.coordinator.feed.hub import Hub
from agent.coordinator.store import events
from agent.coordinator.store.events import NewEvent
from agent.coordinator.store.schema.upgrade import prepare
from agent.coordinator.store.sqlite.database import SQLiteDatabase
from support.servers.databases import create_database

pytestmark = pytest.mark.anyio

CHANGE = NewEvent("job_update", {"number": 1}, "account_1", job_id="job_1")
TOKEN = NewEvent("job_event", {"number": 2}, "account_1", job_id="job_1")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SQLiteDatabase]:
    create_database(tmp_path / "feed.db")
    database = SQLiteDatabase(tmp_path / "feed.db", readers=1)
    database.open(prepare)
    yield database
    database.close()


def message(seq: int) -> dict[str, Any]:
    return {"type": "job_event", "data": {}, "seq": seq}


def anything(_: Any) -> bool:
    return True


async def test_a_message_published_after_a_commit_follows_its_changes(database: SQLiteDatabase) -> None:
    """However soon it is published, even before the feed has read the change."""
    feed = Feed(database, Hub())
    running = asyncio.create_task(feed.run())
    async with feed.subscribe("job_1") as subscription:
        for _ in range(50):
            await database.write(events.add, [CHANGE], 0.0)
            await feed.publish([TOKEN, TOKEN])
        received = [await subscription.next(5) for _ in range(150)]
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert [item and item["data"]["number"] for item in received] == [1, 2, 2] * 50
    numbers = [item["seq"] for item in received if item is not None]
    assert numbers == sorted(set(numbers))
    assert numbers[:3] == [1 << NUMBER_BITS, (1 << NUMBER_BITS) + 1, (1 << NUMBER_BITS) + 2]


async def test_a_message_without_subscribers_is_numbered_after_the_changes_too(
    database: SQLiteDatabase,
) -> None:
    """The changes themselves are history, which later subscribers read from the database."""
    feed = Feed(database, Hub())
    await database.write(events.add, [CHANGE] * 3, 0.0)
    await feed.publish([TOKEN])
    assert feed.seq == (3 << NUMBER_BITS) + 1
    async with feed.subscribe("job_1") as subscription:
        assert subscription.empty


async def test_numbers_are_never_reused_when_they_run_out(
    database: SQLiteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the database accepts no writes for that long, later live messages count as lost."""
    monkeypatch.setattr(feed, "NUMBER_BITS", 2)
    following = Feed(database, Hub())
    async with following.subscribe("job_1") as subscription:
        await following.publish([TOKEN] * 5)
        received = [await subscription.next(0.01) for _ in range(5)]
    assert [item and item["seq"] for item in received] == [1, 2, 3, None, None]
    assert following.recent.lost_up_to == 3


def test_the_newest_events_are_retained_up_to_a_number_and_a_size() -> None:
    recent = Recent(limit=3, size_limit=100)
    for seq in range(1, 6):
        recent.add(message(seq), ["job_1"], 10)
    assert recent.between(0, 99, ["job_1"], anything) == ([message(3), message(4), message(5)], 99)
    assert recent.lost_up_to == 2
    recent.add(message(6), ["job_1"], 85)
    assert recent.between(0, 99, ["job_1"], anything) == ([message(5), message(6)], 99)
    recent.add(message(7), ["job_1"], 200)
    assert recent.between(0, 99, ["job_1"], anything) == ([], 99)
    assert recent.lost_up_to == 7


def test_a_range_is_read_in_pages_with_only_the_subscribers_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "PAGE_BYTES", 20)
    recent = Recent(limit=100, size_limit=1000)
    for seq in range(1, 11):
        recent.add(message(seq), ["job_1", "all"] if seq % 2 else ["job_2"], 10)
    assert recent.between(2, 9, ["job_1"], anything) == ([message(3), message(5)], 5)
    assert recent.between(5, 9, ["job_1", "all"], anything) == ([message(7), message(9)], 9)
    assert recent.between(5, 9, ["job_3"], anything) == ([], 9)
    assert recent.between(0, 9, ["job_2"], lambda item: item["seq"] > 6) == ([message(8)], 9)
