"""Migrations since 0.3.0 only add to what an older program uses, as far back as they declare that it works on the database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, text

from agent.coordinator.store.schema import migrations, upgrade

FIRST = "0034"
"""The schema of 0.3.0. Programs of 0.2.0 do not work on it."""

Schema = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    path = tmp_path_factory.mktemp("expanding") / "database.db"
    with create_engine(f"sqlite:///{path}").connect() as connection:
        yield connection


@pytest.fixture(scope="module")
def schemas(connection: Connection) -> dict[str, Schema]:
    """The schemas of 0.2.0, 0.3.0 and all migrations after it, by their revisions. The database has the newest one."""
    return {
        revision: schema(connection, revision)
        for revision in ("0030", FIRST, *(script.revision for script in later()))
    }


def config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(str(migrations.__file__)).parent))
    config.attributes["connection"] = connection
    return config


def schema(connection: Connection, revision: str | None = None) -> Schema:
    """Return the tables, of a revision to which the database is migrated first."""
    if revision is not None:
        with connection.begin():
            command.upgrade(config(connection), revision)
    inspector = inspect(connection)
    tables = {
        table: {
            "columns": {column["name"]: column for column in inspector.get_columns(table)},
            "unique": {str(sorted(index["column_names"], key=str)) for index in _unique(inspector, table)},
            "checks": {check["sqltext"] for check in inspector.get_check_constraints(table)},
            "references": inspector.get_foreign_keys(table),
        }
        for table in inspector.get_table_names()
    }
    connection.rollback()
    return tables


def _unique(inspector: Any, table: str) -> list[Any]:
    indexes = [index for index in inspector.get_indexes(table) if index["unique"]]
    return [*indexes, *inspector.get_unique_constraints(table)]


def contractions(older: Schema, newer: Schema) -> list[str]:
    """Return what a program of the older schema cannot do on the newer one."""
    result = [f"table {name} is missing" for name in older.keys() - newer.keys()]
    for name in older.keys() & newer.keys():
        before, after = older[name], newer[name]
        result += [f"{name}.{column} is missing" for column in before["columns"].keys() - after["columns"]]
        for column, now in after["columns"].items():
            was = before["columns"].get(column)
            needed = not now["nullable"] and now["default"] is None
            if was is None and needed:
                result.append(f"{name}.{column} is new and has neither NULL nor a default")
            elif was is not None and str(was["type"]) != str(now["type"]):
                result.append(f"{name}.{column} has another type")
            elif was is not None and was["nullable"] and needed:
                result.append(f"{name}.{column} must not be NULL any longer")
        result += [f"{name} has the new condition {check}" for check in after["checks"] - before["checks"]]
        result += [f"{name} must be unique in {columns}" for columns in after["unique"] - before["unique"]]
    return sorted(result)


def later() -> list[Script]:
    """The migrations after 0.3.0, oldest first."""
    scripts = list(ScriptDirectory.from_config(config(None)).walk_revisions())  # type: ignore[arg-type]
    return [script for script in reversed(scripts) if script.revision > FIRST]


def test_every_migration_only_adds_to_what_the_programs_use_that_it_declares_to_work(
    schemas: dict[str, Schema],
) -> None:
    """Each names the oldest schema whose programs work: `oldest`. The newest one's is what the database states."""
    oldest = FIRST
    for script in later():
        assert oldest <= script.module.oldest < script.revision, (
            f"Revision {script.revision} must declare, as `oldest`, the former version's schema or an older one: first add, and remove a version later."
        )
        oldest = script.module.oldest
        assert contractions(schemas[oldest], schemas[script.revision]) == []
    assert oldest == upgrade.OLDEST


def test_the_migration_to_0_3_0_is_recognised_as_a_contraction(schemas: dict[str, Schema]) -> None:
    """It moved columns of jobs to other tables."""
    removed = ("audit_hold", "labels", "offer_id", "webhook_url")
    assert contractions(schemas["0030"], schemas[FIRST]) == [
        f"jobs.{column} is missing" for column in removed
    ]


@pytest.mark.parametrize(
    ("statement", "contraction"),
    [
        ("ALTER TABLE jobs RENAME COLUMN priority TO urgency", "jobs.priority is missing"),
        ("DROP TABLE durations", "table durations is missing"),
        ("CREATE UNIQUE INDEX ix_new ON accounts (name)", "accounts must be unique in ['name']"),
        ("ALTER TABLE accounts ADD COLUMN note TEXT CHECK (note <> '')", "accounts has the new condition note <> ''"),
        ("ALTER TABLE accounts ADD COLUMN note TEXT", None),
        ("ALTER TABLE accounts ADD COLUMN note TEXT NOT NULL DEFAULT ''", None),
        ("CREATE TABLE notes (account_id TEXT NOT NULL)", None),
        ("CREATE INDEX ix_new ON accounts (name)", None),
    ],
)  # fmt: skip
def test_what_an_older_program_can_and_cannot_work_with(
    connection: Connection, schemas: dict[str, Schema], statement: str, contraction: str | None
) -> None:
    connection.exec_driver_sql("BEGIN")  # which reading the schema rolls back
    connection.execute(text(statement))
    contracted = contractions(schemas[upgrade.HEAD], schema(connection))
    assert (contraction in contracted) if contraction else contracted == []


@pytest.mark.parametrize(
    ("changes", "contraction"),
    [
        ({"nullable": False}, "jobs.cost must not be NULL any longer"),
        ({"type": "TEXT"}, "jobs.cost has another type"),
    ],
)
def test_columns_that_change_are_contractions(
    connection: Connection, schemas: dict[str, Schema], changes: dict[str, Any], contraction: str
) -> None:
    changed = schema(connection)
    changed["jobs"]["columns"]["cost"] |= changes
    assert contractions(schemas[upgrade.HEAD], changed) == [contraction]
