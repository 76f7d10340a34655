"""Writes that go together, on both engines: who shares a call, and whom an error concerns."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from agent.coordinator.features.replicas.store import groups
from agent.coordinator.features.replicas.store.database import PostgresDatabase
from agent.coordinator.store import access
from agent.coordinator.store.database import Database
from agent.coordinator.store.schema import tables, upgrade
from agent.coordinator.store.sqlite.database import SQLiteDatabase
from support.servers import postgres

pytestmark = pytest.mark.anyio

GATE = "gate"
REFUSED = "refused"
LIMIT_SECONDS = 180


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        sqlite = SQLiteDatabase(tmp_path / "x.db", readers=1)
        sqlite.open(upgrade.prepare)
        yield sqlite
        sqlite.close()
        return
    url = postgres.shared().new_database()
    server = PostgresDatabase(url, directory=tmp_path, writers=4, readers=1)
    server.open(upgrade.prepare)
    yield server
    server.close()
    postgres.shared().drop(url)


class Calls:
    """Adds accounts, and records which ones each call was given. The account `GATE` blocks its call until `open` is set."""

    def __init__(self) -> None:
        self.made: list[tuple[str, ...]] = []
        self.reached = threading.Semaphore(0)
        self.open = threading.Event()

    async def blocked(self, database: Database) -> list[asyncio.Task[str]]:
        """Occupy all transactions that may run at the same time, so that further writes wait."""
        count = groups.AT_ONCE if database.concurrent else 1
        tasks = []
        for number in range(count):
            tasks.append(asyncio.create_task(database.write_together(add, self, f"{GATE}{number}", number)))
            assert await asyncio.to_thread(self.reached.acquire, timeout=LIMIT_SECONDS)
        return tasks


def add(connection: Connection, calls: Calls, names: Sequence[str]) -> list[str | Exception]:
    calls.made.append(tuple(names))
    outcomes: list[str | Exception] = []
    for name in names:
        if name.startswith(GATE):
            calls.reached.release()
            assert calls.open.wait(LIMIT_SECONDS)
        if name == REFUSED:
            outcomes.append(LookupError(name))
            continue
        access.add_account(connection, name, "Ada", 0.0)
        outcomes.append(f"added {name}")
    return outcomes


def stored(connection: Connection) -> set[str]:
    return {name for name in connection.scalars(select(tables.accounts.c.account_id)) if GATE not in name}


async def written(
    database: Database, calls: Calls, items: Sequence[tuple[str, Hashable]]
) -> list[str | BaseException]:
    """Write items that wait at the same time. Return their outcomes."""
    first = await calls.blocked(database)
    tasks = [asyncio.create_task(database.write_together(add, calls, name, key)) for name, key in items]
    await asyncio.sleep(0)
    waiting = database.waiting
    calls.open.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert waiting == len(items)
    assert database.waiting == 0
    await asyncio.gather(*first)
    calls.made = [call for call in calls.made if not call[0].startswith(GATE)]
    return outcomes


async def test_items_that_wait_are_written_by_one_call(database: Database) -> None:
    calls = Calls()
    names = [f"account_{number}" for number in range(20)]
    outcomes = await written(database, calls, [(name, name) for name in names])
    assert outcomes == [f"added {name}" for name in names]
    assert calls.made == [tuple(names)]
    assert await database.read(stored) == set(names)
    gates = database.writes - len(names)
    assert (database.commits, gates) == (gates + 1, gates)


async def test_an_error_that_is_returned_concerns_its_item_only(database: Database) -> None:
    calls = Calls()
    first, refused, last = await written(database, calls, [("a", 1), (REFUSED, 2), ("b", 3)])
    assert (first, last) == ("added a", "added b")
    assert isinstance(refused, LookupError)
    assert calls.made == [("a", REFUSED, "b")]
    assert await database.read(stored) == {"a", "b"}


async def test_after_an_error_that_is_raised_each_item_is_written_alone(database: Database) -> None:
    calls = Calls()
    items = [("a", 1), ("b", 2), ("a", 3), ("c", 4)]
    first, second, failed, last = await written(database, calls, items)
    assert (first, second, last) == ("added a", "added b", "added c")
    assert isinstance(failed, Exception)
    assert calls.made[0] == ("a", "b", "a", "c")
    assert await database.read(stored) == {"a", "b", "c"}


async def test_items_with_the_same_key_never_share_a_call(database: Database) -> None:
    calls = Calls()
    outcomes = await written(database, calls, [("a", 1), ("b", 2), ("c", 1), ("d", 3)])
    assert outcomes == ["added a", "added b", "added c", "added d"]
    assert sorted(calls.made) == [("a", "b"), ("c", "d")]  # PostgreSQL runs two transactions at a time
    assert await database.read(stored) == {"a", "b", "c", "d"}


async def test_calls_with_other_shared_objects_are_separate(database: Database) -> None:
    calls, others = Calls(), Calls()
    first = await calls.blocked(database)
    one = asyncio.create_task(database.write_together(add, others, "a", 1))
    two = asyncio.create_task(database.write_together(add, calls, "b", 2))
    await asyncio.sleep(0)
    calls.open.set()
    assert await asyncio.gather(one, two) == ["added a", "added b"]
    await asyncio.gather(*first)
    assert others.made == [("a",)]
    assert ("b",) in calls.made
