"""The choice of the database engine: so far SQLite is the only one."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from agent.coordinator.store.database import Connection, Database
from agent.coordinator.store.schema.upgrade import prepare
from agent.coordinator.store.sqlite.database import SQLiteDatabase, reading, sqlite_path
from agent.metrics import Meter
from agent.settings import DatabaseSettings


def open_database(settings: DatabaseSettings, data_dir: Path, meter: Meter) -> Database:
    """Open the database that the settings name, and create or upgrade its schema. Raises `ConfigurationError`."""
    database = SQLiteDatabase(
        sqlite_path(settings.url, data_dir),
        readers=settings.readers,
        cache_size=int(settings.cache_size),
        max_batch=settings.max_batch,
        max_queue=settings.max_queue,
        meter=meter,
    )
    database.open(prepare)
    return database


def snapshot(settings: DatabaseSettings, data_dir: Path) -> AbstractContextManager[Connection]:
    """Read one snapshot of the database, which another process may be using. Raises `ConfigurationError` on entry."""
    return reading(sqlite_path(settings.url, data_dir))
