"""`aitbc-agent migrate` from SQLite to PostgreSQL, killed on the way: every row of every table arrives once, and only one database is in use."""

from __future__ import annotations

import json
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    create_engine,
)

from agent.coordinator.store.schema.tables import metadata
from agent.fault_points import VARIABLE
from support.agents import Agent
from support.server import serve
from support.servers import postgres

pytestmark = pytest.mark.chaos

VECTORS = Path(__file__).parents[1] / "vectors"
ROWS = 6000
"""Rows of one table: more than a batch."""
GIVEN = 10**10
"""The greatest number that the table of changes has given; its row is deleted."""


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    """An installation of version 0.1.0, upgraded, with rows in every table."""
    with tarfile.open(VECTORS / "data_0_1_0.tar.xz") as archive:
        archive.extractall(tmp_path / "data")  # noqa: S202 - of this repository
    with serve(tmp_path / "data"):
        pass
    with closing(sqlite3.connect(database_of(tmp_path / "data"))) as database:
        for table in metadata.sorted_tables:
            if database.execute(f"SELECT count(*) FROM {table.name}").fetchone() == (0,):  # noqa: S608 - names of the schema
                fill(database, table)
        account = database.execute("SELECT account_id FROM accounts").fetchone()[0]
        database.executemany(
            "INSERT INTO idempotency VALUES (?, ?, ?, ?, ?)",
            [(account, f"key {number}", "0" * 64, "{}", 0.1) for number in range(ROWS)],
        )
        database.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'events'", (GIVEN,))
        database.commit()
    plan = tmp_path / "plan"
    plan.touch()
    return Agent(tmp_path / "data", "coordinator", "--port", "0", **{VARIABLE: str(plan)})


def database_of(data: Path) -> Path:
    return data / "coordinator/coordinator.db"


def fill(database: sqlite3.Connection, table: Table) -> None:
    """Insert a row of unusual values, whose references exist."""
    values = {column.name: value_of(database, column) for column in table.columns}
    names, marks = ", ".join(f'"{name}"' for name in values), ", ".join("?" * len(values))
    database.execute(f"INSERT INTO {table.name} ({names}) VALUES ({marks})", list(values.values()))  # noqa: S608 - as above


def value_of(database: sqlite3.Connection, column: Column[Any]) -> Any:  # noqa: PLR0911 - one for each type
    for key in column.foreign_keys:
        return database.execute(f"SELECT {key.column.name} FROM {key.column.table.name}").fetchone()[0]  # noqa: S608 - as above
    if column.name == "state":
        return "failed"  # fsck reads the states of payouts
    match column.type:
        case Boolean():
            return True
        case BigInteger():
            return 2**53 + 1
        case Integer():
            return 2**31 - 1
        case Float():
            return 1_700_000_000.1 + 1e-6
        case LargeBinary():
            return bytes(range(32))
        case Text():
            return '{"a": "\\u0000 \\t\\\\N",\n\t"ü": "🙂"}'
        case String():
            return "1"
        case kind:
            raise AssertionError(f"{column}: a migration does not know how to copy {kind!r}")


def rows_of(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
    return {
        table.name: sorted((tuple(row) for row in connection.execute(table.select())), key=repr)
        for table in metadata.sorted_tables
    }


def test_every_row_arrives_once_although_the_migration_is_killed(agent: Agent, tmp_path: Path) -> None:
    """The coordinator starts on the target only when it is complete, and never again on the file."""
    server = postgres.shared()
    url = server.new_database("template1")
    file, plan = database_of(agent.data_dir), tmp_path / "plan"
    with create_engine(f"sqlite:///{file}").connect() as source:
        expected = rows_of(source)
    assert [name for name, rows in expected.items() if not rows] == []
    before = file.read_bytes()
    kills = [
        "migration.before_commit:idempotency kill 1",
        "migration.before_commit:alembic_version kill 1",
    ]
    for kill in kills:
        plan.write_text(f"{kill}\n")
        died = migrate(agent, url)
        assert died.returncode == -9, died.stderr
    early = Agent(agent.data_dir, "coordinator", AITBC_DATABASE__URL=url)
    assert "is not complete yet" in early.cli("coordinator", "--port", "0", check=False).stderr
    assert "was moved to" in agent.cli("coordinator", "--port", "0", check=False).stderr
    plan.write_text("")
    done = migrate(agent, url, "--json", "--configure")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["rows"] == {name: len(rows) for name, rows in expected.items()}
    assert (found["differences"], found["configured"]) == ([], True)
    assert file.read_bytes() == before
    with create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url)).connect() as copy:
        assert rows_of(copy) == expected
        context = MigrationContext.configure(copy, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        ours, theirs = catalogue(url), catalogue(server.url(postgres.TEMPLATE))
    assert ours == theirs
    (number,) = server.execute("SELECT nextval('events_seq_seq')", url.rpartition("/")[2].partition("?")[0])[
        0
    ]
    assert number == GIVEN + 1
    agent.start()
    try:
        assert agent.status()
    finally:
        agent.stop()


def migrate(agent: Agent, url: str, *options: str) -> Any:
    return agent.cli("migrate", "--to", url, *options, check=False)


def catalogue(url: str) -> list[tuple[Any, ...]]:
    """Return indexes, constraints and defaults as the server describes them."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT indexname::text, indexdef FROM pg_indexes WHERE schemaname = 'public' UNION ALL "
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace UNION ALL "
            "SELECT table_name || '.' || column_name, data_type || coalesce(column_default, '') || is_nullable FROM information_schema.columns "
            "WHERE table_schema = 'public' ORDER BY 1, 2"
        ).fetchall()
