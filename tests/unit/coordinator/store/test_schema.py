"""The schema: a new database and a migrated one have the declared tables, and a newer program's database is not changed."""

from __future__ import annotations

import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, text

import agent.coordinator.installed  # noqa: F401 - declares the tables of features
from agent.coordinator.store.schema import migrations, upgrade
from agent.coordinator.store.schema.tables import metadata
from agent.coordinator.store.sqlite.database import SQLiteDatabase
from agent.core.errors import ConfigurationError
from support.features import all_installed

VECTORS = Path(__file__).parents[3] / "vectors"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a database with the newest schema."""
    path = tmp_path / "coordinator.db"
    open_and_close(path)
    return path


@pytest.fixture
def migrated(tmp_path: Path) -> Path:
    """Return the path of a database that all migrations made."""
    path = tmp_path / "migrated.db"
    with create_engine(f"sqlite:///{path}").connect() as connection:
        config = _config()
        config.attributes["connection"] = connection
        with connection.begin():
            command.upgrade(config, upgrade.HEAD)
    return path


def open_and_close(path: Path) -> None:
    database = SQLiteDatabase(path)
    try:
        database.open(upgrade.prepare)
    finally:
        database.close()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(str(migrations.__file__)).parent))
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def version(connection: Connection) -> str:
    value: str = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    return value


def has_expression(change: tuple[Any, ...]) -> bool:
    """Return whether it is an index over an expression, which SQLite does not report. Another test checks their conditions."""
    return getattr(change[1], "name", "") in ("ix_jobs_claimable", "ix_jobs_claimable_by_account")


def is_of_a_removed_feature(change: tuple[Any, ...]) -> bool:
    """Return whether it is about a table that nobody declares. Migrations create those of all features that a version had."""
    table = change[1] if change[0] == "remove_table" else getattr(change[1], "table", None)
    return not all_installed() and table is not None and table.name not in metadata.tables


def test_the_migrations_create_the_declared_tables(migrated: Path) -> None:
    """Columns, types, nullability, indexes, unique constraints and foreign keys."""
    with create_engine(f"sqlite:///{migrated}").connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        changes = compare_metadata(context, metadata)
    assert [
        change for change in changes if not (has_expression(change) or is_of_a_removed_feature(change))
    ] == []


def schema(path: Path) -> dict[str, dict[str, Any]]:
    """Return the columns, constraints and indexes of each table."""
    with create_engine(f"sqlite:///{path}").connect() as connection:
        sql = dict(connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'index'")).all())
        inspector = inspect(connection)
        return {
            table: {
                "columns": {
                    column["name"]: (str(column["type"]), column["nullable"], column["default"])
                    for column in inspector.get_columns(table)
                },
                "key": inspector.get_pk_constraint(table),
                "unique": {
                    str(constraint["column_names"]) for constraint in inspector.get_unique_constraints(table)
                },
                "foreign": {str(constraint) for constraint in inspector.get_foreign_keys(table)},
                "checks": {str(constraint) for constraint in inspector.get_check_constraints(table)},
                "indexes": {
                    " ".join(index.split()) for index in sql.values() if index and f" ON {table} (" in index
                },
            }
            for table in inspector.get_table_names()
            if table != "alembic_version"
        }


def without_default(tables: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Leave out the default that existing rows needed when the column was added. A new database has none."""
    columns = tables["jobs"]["columns"]
    columns["fee_ppm"] = (*columns["fee_ppm"][:2], None)
    return tables


def test_a_new_database_has_the_tables_of_a_migrated_one(path: Path, migrated: Path) -> None:
    """The same columns, constraints and indexes; only their order differs."""
    made = schema(path)
    expected = without_default(schema(migrated))
    if not all_installed():
        expected = {name: table for name, table in expected.items() if name in metadata.tables}
    assert made == expected
    assert len(made) == len(metadata.tables)
    assert any(table["indexes"] for table in made.values())


@pytest.mark.parametrize(
    ("revision", "recorded"), [("0011", "data_0_1_0.tar.xz"), ("0030", "data_0_2_0.sql")]
)
def test_a_step_makes_the_tables_of_the_released_version(
    tmp_path: Path, revision: str, recorded: str
) -> None:
    """Each step between releases, compared with a database that the released program made."""
    released = tmp_path / "coordinator/coordinator.db"
    if recorded.endswith(".sql"):
        released.parent.mkdir()
        with closing(sqlite3.connect(released)) as connection:
            connection.executescript((VECTORS / recorded).read_text(encoding="utf-8"))
    else:
        with tarfile.open(VECTORS / recorded) as archive:
            archive.extract("coordinator/coordinator.db", tmp_path)
    made = tmp_path / "made.db"
    with create_engine(f"sqlite:///{made}").connect() as connection:
        config = _config()
        config.attributes["connection"] = connection
        with connection.begin():
            command.upgrade(config, revision)
    assert without_default(schema(made)) == without_default(schema(released))


def test_partial_indexes_have_their_conditions(migrated: Path) -> None:
    """The comparison above ignores them, and without them SQLite would not use the index."""
    with create_engine(f"sqlite:///{migrated}").connect() as connection:
        rows = connection.execute(
            text(
                "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'jobs' AND sql LIKE '% WHERE %'"
            )
        )
        made = {name: sql.partition(" WHERE ")[2] for name, sql in rows}
    declared = {
        index.name: str(index.dialect_options["sqlite"]["where"])
        for index in metadata.tables["jobs"].indexes
        if index.dialect_options["sqlite"]["where"] is not None
    }
    assert made == declared
    assert len(made) > 1


def test_the_expected_schema_is_the_newest_migration() -> None:
    assert _scripts().get_heads() == [upgrade.HEAD]


def test_preparing_again_changes_nothing(path: Path) -> None:
    with create_engine(f"sqlite:///{path}").connect() as connection:
        connection.execute(text("INSERT INTO accounts VALUES ('account_1', 'Ada', 0)"))
        connection.commit()
    open_and_close(path)
    with create_engine(f"sqlite:///{path}").connect() as connection:
        assert connection.execute(text("SELECT name FROM accounts")).scalar_one() == "Ada"
        assert version(connection) == upgrade.HEAD


def test_an_older_database_is_upgraded_without_losing_data(tmp_path: Path) -> None:
    """Rows from each older schema survive all later upgrades. Afterwards the foreign keys between old rows and new tables hold."""
    revisions = [script.revision for script in _scripts().walk_revisions()][:0:-1]
    assert revisions
    path = tmp_path / "older.db"
    with create_engine(f"sqlite:///{path}").connect() as connection:
        config = _config()
        config.attributes["connection"] = connection
        for revision in revisions:
            row = {"account": f"account_{revision}", "artifact": f"sha256:{revision}"}
            with connection.begin():
                command.upgrade(config, revision)
                connection.execute(text("INSERT INTO accounts VALUES (:account, 'Ada', 0)"), row)
                connection.execute(
                    text("INSERT INTO artifacts (artifact_id, size, created_at) VALUES (:artifact, 5, 0)"),
                    row,
                )
    open_and_close(path)
    with create_engine(f"sqlite:///{path}").connect() as connection:
        assert version(connection) == upgrade.HEAD
        names = connection.execute(text("SELECT name FROM accounts")).scalars().all()
        sizes = connection.execute(text("SELECT size FROM artifacts")).scalars().all()
        assert (names, sizes) == (["Ada"] * len(revisions), [5] * len(revisions))
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        changes = compare_metadata(context, metadata)
        assert [
            change for change in changes if not (has_expression(change) or is_of_a_removed_feature(change))
        ] == []
        assert connection.execute(text("PRAGMA foreign_key_check")).all() == []


def test_a_newer_database_is_refused_and_unchanged(path: Path) -> None:
    with create_engine(f"sqlite:///{path}").connect() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        connection.execute(text("PRAGMA user_version = 9999"))
        connection.commit()
    with pytest.raises(ConfigurationError, match=r"schema 9999.*Upgrade aitbc-agent\."):
        open_and_close(path)
    with create_engine(f"sqlite:///{path}").connect() as connection:
        assert version(connection) == "9999"
