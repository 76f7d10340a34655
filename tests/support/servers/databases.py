"""Empty databases of the current schema, created once for each test process: migrating takes longer than most tests."""

from __future__ import annotations

import functools
import os
import tempfile
from pathlib import Path
from typing import Any, Final

from sqlalchemy import create_engine

import agent.coordinator.installed  # noqa: F401 - their tables belong to the schema
from agent.coordinator.store.schema.upgrade import prepare
from agent.coordinator.store.sqlite import database as sqlite
from agent.coordinator.store.sqlite.database import SQLiteDatabase, sqlite_path

ENGINE: Final = "TESTS_DATABASE"
"""The environment variable with the engine of the tests' coordinators: sqlite, or postgresql."""


class _Compiled(dict[Any, Any]):
    """Compiled statements by statement and name of the dialect. SQLAlchemy's own caches belong to one engine, and so to one test."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get((key[0].name, *key[1:]), default)

    def __setitem__(self, key: Any, statement: Any) -> None:
        super().__setitem__((key[0].name, *key[1:]), statement)


vars(sqlite)["create_engine"] = functools.partial(
    create_engine, execution_options={"compiled_cache": _Compiled()}
)


def on_postgres() -> bool:
    """Return whether the tests' coordinators use PostgreSQL."""
    return os.environ.get(ENGINE) == "postgresql"


def empty_database(data_dir: Path) -> str | None:
    """Return the URL of a coordinator's database: a file in `data_dir`, or a database of the tests' PostgreSQL server.

    A coordinator that starts again with the same directory finds its database again.
    """
    if not on_postgres():
        create_database(sqlite_path(None, data_dir))
        return None
    from support.servers import postgres  # noqa: PLC0415 - most tests need neither the driver nor a server

    marker = data_dir / "database.url"
    if not marker.exists():
        marker.parent.mkdir(parents=True, exist_ok=True)
        _drop_unused()
        _created[marker] = postgres.shared().new_database()
        marker.write_text(_created[marker])
    return marker.read_text()


_created: dict[Path, str] = {}


def _drop_unused() -> None:
    """Drop the databases of earlier tests, whose directories are deleted by now."""
    from support.servers import postgres  # noqa: PLC0415 - as above

    for marker in [marker for marker in _created if not marker.exists()]:
        postgres.shared().drop(_created.pop(marker))


def create_database(path: Path) -> None:
    """Write an empty database to `path`, unless the file exists."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_empty_database())


@functools.cache
def _empty_database() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "empty.db"
        database = SQLiteDatabase(path)
        database.open(prepare)
        database.close()
        return path.read_bytes()
