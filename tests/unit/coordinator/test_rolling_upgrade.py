"""Programs of two versions on one database: the older one works on the newer schema if that says so."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from agent.coordinator.features.replicas.store.database import PostgresDatabase
from agent.coordinator.store.concurrency import SESSION_LOCKS
from agent.coordinator.store.schema import migrations
from agent.coordinator.store.schema.upgrade import HEAD, OLDEST, prepare, require_newest, require_usable
from agent.coordinator.store.sqlite.database import SQLiteDatabase, reading
from agent.core.errors import ConfigurationError
from support.servers import postgres

pytestmark = pytest.mark.system

LIMIT_SECONDS = 120


def start(url: str, directory: Path) -> None:
    database = PostgresDatabase(url, directory=directory)
    try:
        database.open(prepare)
    finally:
        database.close()


def test_an_older_program_starts_on_a_newer_schema_that_it_can_use(tmp_path: Path) -> None:
    url = postgres.shared().new_database()
    with psycopg.connect(url, autocommit=True) as connection:
        (noted,) = connection.execute("SELECT obj_description('alembic_version'::regclass)").fetchone() or (
            "",
        )
        assert noted == OLDEST
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute(f"COMMENT ON TABLE alembic_version IS '{HEAD}'")
        start(url, tmp_path)
        connection.execute("COMMENT ON TABLE alembic_version IS '9999'")
        with pytest.raises(ConfigurationError, match="of a newer aitbc-agent"):
            start(url, tmp_path)


def start_on_file(path: Path) -> None:
    """Start as a coordinator and as a command that reads, which both need to know the schema."""
    database = SQLiteDatabase(path)
    try:
        database.open(prepare)
    finally:
        database.close()
    with reading(path) as connection:
        require_usable(connection)


def test_an_older_program_starts_on_a_newer_file_that_it_can_use(tmp_path: Path) -> None:
    """So an upgrade can be undone. Only what copies all tables needs those that it does not know."""
    path = tmp_path / "coordinator.db"
    start_on_file(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (int(OLDEST),)
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute(f"PRAGMA user_version = {int(HEAD)}")
        start_on_file(path)
        with pytest.raises(ConfigurationError, match="upgrade aitbc-agent"), reading(path) as snapshot:
            require_newest(snapshot)
        for unusable in (9999, 0):
            connection.execute(f"PRAGMA user_version = {unusable}")
            with pytest.raises(ConfigurationError, match="restore the backup from before the upgrade"):
                start_on_file(path)
            with pytest.raises(ConfigurationError, match="upgrade aitbc-agent"), reading(path) as snapshot:
                require_usable(snapshot)


def test_a_migration_that_waits_for_a_table_does_not_keep_others_waiting(tmp_path: Path) -> None:
    """A long query, such as that of a dump, is in its way. It starts over until that has ended."""
    url = postgres.shared().new_database("template0")
    migrate(url, "0030")
    with psycopg.connect(url) as dump, psycopg.connect(url, autocommit=True) as other:
        dump.execute("LOCK TABLE jobs IN ACCESS SHARE MODE")
        starting = threading.Thread(target=start, args=(url, tmp_path))
        starting.start()
        waits = "SELECT count(*) FROM pg_locks WHERE relation = 'jobs'::regclass AND NOT granted AND mode = 'AccessExclusiveLock'"
        while other.execute(waits).fetchone() == (0,):
            assert starting.is_alive()
        other.execute(f"SET statement_timeout = '{LIMIT_SECONDS}s'")
        assert other.execute("SELECT count(*) FROM jobs").fetchone() == (0,)
        dump.rollback()
        starting.join(LIMIT_SECONDS)
        assert other.execute("SELECT version_num FROM alembic_version").fetchone() == (HEAD,)


def test_a_migration_that_would_break_running_replicas_is_refused_until_they_have_stopped(
    tmp_path: Path,
) -> None:
    url = postgres.shared().new_database("template0")
    migrate(url, "0030")
    with psycopg.connect(url) as replica:
        replica.execute("SELECT pg_try_advisory_lock(%s, 3)", (SESSION_LOCKS,))
        with pytest.raises(ConfigurationError, match="Stop all of them, then start this one"):
            start(url, tmp_path)
        assert replica.execute("SELECT version_num FROM alembic_version").fetchone() == ("0030",)
    start(url, tmp_path)


def migrate(url: str, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(str(migrations.__file__)).parent))
    with create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1)).connect() as connection:
        config.attributes["connection"] = connection
        with connection.begin():
            command.upgrade(config, revision)
