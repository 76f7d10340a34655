"""The SQLite engine: which writes share a commit, what a failure undoes, what survives, what readers see."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from agent.coordinator.store.database import healthy
from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.sqlite.database import CHECKPOINT_PAGES, SQLiteDatabase, sqlite_path
from agent.core.errors import ConfigurationError, ServiceUnavailable

pytestmark = pytest.mark.anyio

LIMIT_SECONDS = 180


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def prepare(connection: Connection) -> None:
    with connection.begin():
        connection.execute(text("CREATE TABLE IF NOT EXISTS numbers (number INTEGER PRIMARY KEY)"))


def add(connection: Connection, number: int) -> int:
    connection.execute(text("INSERT INTO numbers VALUES (:number)"), {"number": number})
    return number


def numbers(connection: Connection) -> list[int]:
    return list(connection.execute(text("SELECT number FROM numbers ORDER BY number")).scalars())


def pragma(connection: Connection, name: str) -> int:
    value: int = connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
    return value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "numbers.db"


@pytest.fixture
def database(path: Path) -> Iterator[SQLiteDatabase]:
    database = SQLiteDatabase(path, readers=2)
    database.open(prepare)
    yield database
    database.close()


class Gate:
    """Blocks the writer's thread in a write until it is opened, so that other writes are queued."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._open = threading.Event()

    def hold(self, _: Connection) -> None:
        self.reached.set()
        assert self._open.wait(LIMIT_SECONDS)

    def open(self) -> None:
        self._open.set()


async def held(database: SQLiteDatabase, gate: Gate) -> asyncio.Task[None]:
    """Return the task of a write that the writer is executing."""
    task = asyncio.create_task(database.write(gate.hold))
    assert await asyncio.to_thread(gate.reached.wait, LIMIT_SECONDS)
    return task


async def test_queued_writes_share_one_commit(database: SQLiteDatabase) -> None:
    gate = Gate()
    first = await held(database, gate)
    waiting = [asyncio.create_task(database.write(add, number)) for number in range(100)]
    await asyncio.sleep(0)
    gate.open()
    assert await asyncio.gather(*waiting) == list(range(100))
    await first
    assert (database.commits, database.writes) == (2, 101)


async def test_a_batch_has_a_limit(path: Path) -> None:
    database = SQLiteDatabase(path, max_batch=10)
    database.open(prepare)
    gate = Gate()
    await held(database, gate)
    waiting = [asyncio.create_task(database.write(add, number)) for number in range(25)]
    await asyncio.sleep(0)
    gate.open()
    await asyncio.gather(*waiting)
    database.close()
    assert database.commits == 1 + 3


async def test_only_a_failed_write_is_undone_and_its_error_reaches_the_caller(
    database: SQLiteDatabase,
) -> None:
    def half(connection: Connection) -> None:
        add(connection, 1000)
        raise LookupError("half way")

    gate = Gate()
    await held(database, gate)
    tasks = [
        asyncio.create_task(work)
        for work in (
            database.write(add, 1),
            database.write(half),
            database.write(add, 1),
            database.write(add, 2),
        )
    ]
    await asyncio.sleep(0)
    gate.open()
    first, failed, repeated, last = await asyncio.gather(*tasks, return_exceptions=True)
    assert (first, last) == (1, 2)
    assert isinstance(failed, LookupError)
    assert "UNIQUE constraint" in str(repeated)
    assert await database.read(numbers) == [1, 2]
    assert database.commits == 2


async def test_a_failed_commit_fails_every_write_of_its_batch(database: SQLiteDatabase, path: Path) -> None:
    """All writes of the batch raise the error, none of them is stored, and the next batch succeeds."""

    def lose_the_transaction(connection: Connection) -> None:
        connection.exec_driver_sql("ROLLBACK")

    gate = Gate()
    await held(database, gate)
    tasks = [
        asyncio.create_task(work) for work in (database.write(add, 1), database.write(lose_the_transaction))
    ]
    await asyncio.sleep(0)
    gate.open()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, Exception) for outcome in outcomes), outcomes
    assert database.commits == 1
    assert await database.write(add, 3) == 3
    assert await database.read(numbers) == [3]


async def test_a_cancelled_write_does_not_affect_others(database: SQLiteDatabase) -> None:
    gate = Gate()
    await held(database, gate)
    impatient = asyncio.create_task(database.write(add, 1))
    patient = asyncio.create_task(database.write(add, 2))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.wait([impatient])
    gate.open()
    assert await patient == 2
    assert await database.read(numbers) == [2]


async def test_readers_see_every_write_answered_before(database: SQLiteDatabase) -> None:
    """Each read directly follows its own write, with many of both at the same time."""

    async def write_and_read(number: int) -> None:
        await database.write(add, number)
        assert number in await database.read(numbers)

    await asyncio.gather(*(write_and_read(number) for number in range(200)))


async def test_a_peek_sees_one_snapshot_with_every_write_answered_before(database: SQLiteDatabase) -> None:
    """It runs in the event loop while the writer continues, and ends its transaction even if it fails."""
    all_numbers = Prepared(text("SELECT number FROM numbers ORDER BY number"))

    def twice(connection: Connection) -> tuple[list[tuple[int]], list[tuple[int]]]:
        before = all_numbers.rows(connection)
        with sqlite3.connect(database.path) as other:  # another program writes in between
            other.execute("INSERT INTO numbers SELECT max(number) + 1 FROM numbers")
        return before, all_numbers.rows(connection)

    def fail(connection: Connection) -> None:
        all_numbers.rows(connection)
        raise LookupError

    await database.write(add, 1)
    assert await database.peek(twice) == ([(1,)], [(1,)])
    with pytest.raises(LookupError):
        await database.peek(fail)
    assert await database.peek(all_numbers.rows) == [(1,), (2,)]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await database.peek(Prepared(text("DELETE FROM numbers")).run, {})


async def test_readers_do_not_wait_for_the_writer(database: SQLiteDatabase) -> None:
    await database.write(add, 1)
    gate = Gate()
    writing = await held(database, gate)
    async with asyncio.timeout(LIMIT_SECONDS):
        assert await database.read(numbers) == [1]
    assert not writing.done()
    gate.open()


async def test_readers_cannot_write(database: SQLiteDatabase) -> None:
    with pytest.raises(Exception, match="readonly"):
        await database.read(add, 1)
    assert await database.read(numbers) == []


async def test_only_the_writer_checkpoints_and_it_syncs_every_commit(database: SQLiteDatabase) -> None:
    """Two connections that checkpoint at once can corrupt the WAL of most SQLite versions."""
    full = 2
    assert await database.write(pragma, "wal_autocheckpoint") == CHECKPOINT_PAGES
    assert await database.write(pragma, "synchronous") == full
    assert await database.write(pragma, "journal_mode") == "wal"
    for name in ("write", "read"):
        assert await getattr(database, name)(pragma, "foreign_keys") == 1
    gathered = await asyncio.gather(*(database.read(pragma, "wal_autocheckpoint") for _ in range(20)))
    assert set(gathered) == {0}


async def test_a_write_is_refused_at_once_if_too_many_are_queued(path: Path) -> None:
    database = SQLiteDatabase(path, max_queue=3)
    database.open(prepare)
    gate = Gate()
    await held(database, gate)
    waiting = [asyncio.create_task(database.write(add, number)) for number in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(ServiceUnavailable, match="overloaded"):
        await database.write(add, 4)
    gate.open()
    await asyncio.gather(*waiting)
    assert await database.write(add, 4) == 4
    database.close()


async def test_closing_finishes_queued_writes_and_refuses_new_ones(path: Path) -> None:
    database = SQLiteDatabase(path)
    database.open(prepare)
    gate = Gate()
    await held(database, gate)
    waiting = [asyncio.create_task(database.write(add, number)) for number in range(50)]
    await asyncio.sleep(0)
    gate.open()
    database.close()
    assert await asyncio.gather(*waiting) == list(range(50))
    for call in (database.write, database.read, database.peek):
        with pytest.raises(ServiceUnavailable, match="stopping"):
            await call(healthy)
    database.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM numbers").fetchone() == (50,)


WRITES_FOREVER = """
import asyncio, itertools, sys
from pathlib import Path
from sqlalchemy import text
from agent.coordinator.store.sqlite.database import SQLiteDatabase

def prepare(connection):
    with connection.begin():
        connection.execute(text("CREATE TABLE numbers (number INTEGER PRIMARY KEY)"))

def add(connection, number):
    connection.execute(text("INSERT INTO numbers VALUES (:number)"), {"number": number})

async def main():
    database = SQLiteDatabase(Path(sys.argv[1]))
    database.open(prepare)
    async def write(start):
        for number in itertools.count(start, 8):
            await database.write(add, number)
            print(number, flush=True)
    await asyncio.gather(*(write(start) for start in range(8)))

asyncio.run(main())
"""


def test_answered_writes_survive_kill_9(path: Path) -> None:
    """A process that prints each answered write is killed while writing."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITES_FOREVER, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        answered = [int(process.stdout.readline()) for _ in range(300)]
        os.kill(process.pid, signal.SIGKILL)
        answered += [int(line) for line in process.stdout.read().split("\n")[:-1]]
    with sqlite3.connect(path) as connection:
        stored = {number for (number,) in connection.execute("SELECT number FROM numbers")}
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert set(answered) <= stored
    # At most one write of each of the eight writers was committed without having been printed.
    assert len(stored) - len(answered) <= 8


@pytest.mark.parametrize(
    ("url", "expected"),
    [(None, "/data/coordinator/coordinator.db"), ("sqlite:////srv/jobs.db", "/srv/jobs.db")],
)
def test_the_path_of_the_database_follows_from_its_url(url: str | None, expected: str) -> None:
    assert sqlite_path(url, Path("/data")) == Path(expected)


def test_an_unsupported_engine_is_reported() -> None:
    with pytest.raises(ConfigurationError, match=r"database\.url.*not postgresql\."):
        sqlite_path("postgresql://db/x", Path("/data"))
