"""The engine on PostgreSQL: transactions, repetition after failures, the schema."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, insert, select, text

from agent.coordinator.features.replicas.store import database as engine
from agent.coordinator.features.replicas.store.connecting import DatabaseServer, ServerLimits, driver, reading
from agent.coordinator.features.replicas.store.database import PostgresDatabase
from agent.coordinator.features.replicas.store.failures import DatabaseFailure, classify
from agent.coordinator.store import access, ledger
from agent.coordinator.store.database import StaleRead
from agent.coordinator.store.schema import migrations, tables, upgrade
from agent.core.errors import ConfigurationError, ServiceUnavailable
from support.features import all_installed
from support.servers import postgres

numbers = itertools.count(1)


@pytest.fixture
def url() -> Iterator[str]:
    """Return the URL of an empty database of the current schema."""
    url = postgres.shared().new_database()
    yield url
    postgres.shared().drop(url)


@pytest.fixture
def database(url: str, tmp_path: Path) -> Iterator[PostgresDatabase]:
    """Return the opened database."""
    database = PostgresDatabase(url, directory=tmp_path, writers=2, readers=1)
    database.open(upgrade.prepare)
    yield database
    database.close()


def add_account(connection: Connection, account_id: str) -> str:
    access.add_account(connection, account_id, "Ada", 0.0)
    return account_id


def account_ids(connection: Connection) -> list[str]:
    return list(
        connection.scalars(select(tables.accounts.c.account_id).order_by(tables.accounts.c.account_id))
    )


def write(database: PostgresDatabase, function: Any, *args: Any) -> Any:
    return asyncio.run(database.write(function, *args))


def end_connection(connection: Connection) -> None:
    """End the server's process of a connection, as an administrator or a restart does."""
    pid = driver(connection).info.backend_pid
    postgres.shared().execute(f"SELECT pg_terminate_backend({pid}, 5000)")


def test_a_new_database_has_the_declared_tables(url: str) -> None:
    with reading(DatabaseServer(url, ServerLimits())) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []


def test_an_older_schema_is_upgraded_without_losing_data(tmp_path: Path) -> None:
    """From the first released schema, with foreign keys enforced throughout; of two processes at once, one upgrades."""
    url = postgres.shared().new_database("template0")
    config = Config()
    config.set_main_option("script_location", str(Path(str(migrations.__file__)).parent))
    with create_engine(url.replace("postgresql:", "postgresql+psycopg:")).connect() as connection:
        config.attributes["connection"] = connection
        with connection.begin():
            command.upgrade(config, "0011")
            connection.execute(text("INSERT INTO accounts VALUES ('account_0', 'Ada', 0)"))
    databases = [PostgresDatabase(url, directory=tmp_path) for _ in range(2)]
    threads = [threading.Thread(target=database.open, args=(upgrade.prepare,)) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert write(databases[0], add_account, "account_1") == "account_1"
    assert databases[1].read_now(account_ids) == ["account_0", "account_1"]
    # Migrations also create the tables of a feature that has been removed.
    if all_installed():
        with reading(DatabaseServer(url, ServerLimits())) as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, tables.metadata) == []
    for database in databases:
        database.close()
    postgres.shared().drop(url)


def test_an_error_undoes_the_changes_of_its_write(database: PostgresDatabase) -> None:
    def fail(connection: Connection) -> None:
        add_account(connection, "account_1")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        write(database, fail)
    assert database.read_now(account_ids) == []


def test_an_error_that_a_function_swallows_is_reported(database: PostgresDatabase) -> None:
    """PostgreSQL would undo the whole transaction at its commit, without an error."""

    def swallow(connection: Connection) -> None:
        add_account(connection, "account_1")
        with pytest.raises(psycopg.Error):
            driver(connection).execute("SELECT 1 / 0")

    with pytest.raises(RuntimeError, match="swallow continues after the error"):
        write(database, swallow)


def test_a_connection_that_breaks_costs_a_repetition(database: PostgresDatabase) -> None:
    runs = []

    def break_once(connection: Connection) -> str:
        add_account(connection, "account_1")
        runs.append(len(runs))
        if len(runs) == 1:
            end_connection(connection)
        return add_account(connection, "account_2")

    assert write(database, break_once) == "account_2"
    assert runs == [0, 1]
    assert database.read_now(account_ids) == ["account_1", "account_2"]


@pytest.mark.parametrize("committed", [True, False])
def test_a_connection_that_breaks_during_the_commit_repeats_nothing_that_was_stored(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    """The answer to COMMIT is lost, after or before the server has executed it."""
    runs = []

    def store(connection: Connection) -> str:
        runs.append(connection)
        return add_account(connection, f"account_{len(runs)}")

    def lose(name: str, detail: str = "", **_: Any) -> None:
        if name == "database.before_commit" and len(runs) == 1:
            below = driver(runs[0])
            if committed:
                below.execute("COMMIT")
            monkeypatch.setattr(type(below), "commit", broken)

    def broken(self: psycopg.Connection) -> None:
        monkeypatch.undo()
        self.close()
        raise psycopg.OperationalError("the connection is lost")

    monkeypatch.setattr(engine.fault_points, "reach", lose)
    assert write(database, store) == ("account_1" if committed else "account_2")
    assert database.read_now(account_ids) == ["account_1" if committed else "account_2"]


def test_a_server_that_cannot_be_reached_is_unavailable(tmp_path: Path) -> None:
    url = "postgresql://postgres@/nothing?host=" + str(tmp_path)
    database = PostgresDatabase(url, directory=tmp_path, limits=ServerLimits(retry=0.05))
    with pytest.raises(
        ConfigurationError, match=r"The database nothing on .* cannot be used: .*Check database.url"
    ):
        database.open(upgrade.prepare)
    with pytest.raises(ServiceUnavailable):
        write(database, add_account, "account_1")
    assert database.fault is not None
    database.close()


def test_a_deadlock_and_a_stale_read_are_repeated(database: PostgresDatabase) -> None:
    """Two writes lock two rows in opposite orders; PostgreSQL ends one, and both succeed."""
    for account_id in ("account_1", "account_2"):
        write(database, add_account, account_id)
    met = threading.Barrier(2)
    tries: list[str] = []

    def lock_both(connection: Connection, first: str, second: str) -> str:
        tries.append(first)
        lock = text("SELECT 1 FROM accounts WHERE account_id = :key FOR UPDATE")
        connection.execute(lock, {"key": first})
        if len(tries) <= 2:
            met.wait(60)
        connection.execute(lock, {"key": second})
        return first

    async def both() -> list[str]:
        orders = (("account_1", "account_2"), ("account_2", "account_1"))
        return await asyncio.gather(*(database.write(lock_both, *order) for order in orders))

    assert asyncio.run(both()) == ["account_1", "account_2"]
    assert len(tries) > 2

    def stale(_: Connection) -> str:
        tries.append("stale")
        if tries.count("stale") < 3:
            raise StaleRead
        return "stored"

    assert write(database, stale) == "stored"


def test_a_pooler_that_forgets_prepared_statements_costs_a_repetition(
    database: PostgresDatabase,
) -> None:
    """As PgBouncer does in transaction mode without `max_prepared_statements`: each transaction may get another connection."""

    def read(connection: Connection) -> int:
        return ledger.balance(connection, "fees")

    def forget(connection: Connection) -> int:
        value = ledger.balance(connection, "fees")
        driver(connection).execute("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$", prepare=False)
        return value

    assert write(database, read) == 0
    assert write(database, forget) == 0
    assert write(database, read) == 0
    assert not database.server.prepares


def test_statements_and_locks_have_time_limits(url: str, tmp_path: Path) -> None:
    limits = ServerLimits(statement=0.2, lock=0.05, retry=0.1)
    database = PostgresDatabase(url, directory=tmp_path, limits=limits)
    database.open(upgrade.prepare)
    write(database, add_account, "account_1")
    with pytest.raises(ServiceUnavailable):
        write(database, lambda connection: connection.execute(text("SELECT pg_sleep(10)")))
    with psycopg.connect(url) as other:
        other.execute("SELECT 1 FROM accounts FOR UPDATE")
        with pytest.raises(ServiceUnavailable):
            write(database, lambda connection: connection.execute(text("DELETE FROM accounts")))
    assert database.fault is not None
    write(database, add_account, "account_2")
    assert database.fault is None
    database.close()


def test_reads_see_one_snapshot_with_every_write_answered_before(database: PostgresDatabase) -> None:
    def twice(connection: Connection) -> tuple[list[str], list[str]]:
        before = account_ids(connection)
        asyncio.run(database.write(add_account, "account_2"))
        return before, account_ids(connection)

    write(database, add_account, "account_1")
    assert database.read_now(twice) == (["account_1"], ["account_1"])
    assert database.read_now(account_ids) == ["account_1", "account_2"]


def test_a_session_listens(database: PostgresDatabase) -> None:
    async def listen() -> str:
        async with await database.connect_session() as session:
            await session.execute("LISTEN news")
            await database.write(lambda connection: connection.execute(text("NOTIFY news, 'hello'")))
            async for notice in session.notifies(timeout=60, stop_after=1):
                return notice.payload
        raise AssertionError("nothing arrived")

    assert asyncio.run(listen()) == "hello"


def test_a_duplicate_is_repeated_only_a_few_times(database: PostgresDatabase) -> None:
    tries = []

    def add_twice(connection: Connection) -> None:
        tries.append(1)
        for _ in range(2):
            connection.execute(insert(tables.accounts), {"account_id": "a", "name": "a", "created_at": 0})

    with pytest.raises(Exception, match="duplicate key") as caught:
        write(database, add_twice)
    assert classify(caught.value) is DatabaseFailure.DUPLICATE
    assert len(tries) == engine.DUPLICATES + 1
