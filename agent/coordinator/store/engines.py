"""The choice of the database engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.coordinator.store.database import Connection, Database
from agent.coordinator.store.schema.upgrade import prepare
from agent.coordinator.store.sqlite.database import SQLiteDatabase, reading, sqlite_path
from agent.coordinator.store.sqlite.moved import require_unmoved
from agent.core.errors import ConfigurationError
from agent.metrics import Meter
from agent.settings import DatabaseSettings
from runners.extras import extra_command

if TYPE_CHECKING:
    from agent.coordinator.store.postgres.connecting import Limits

POSTGRES: Final = ("postgresql://", "postgres://")


def open_database(settings: DatabaseSettings, data_dir: Path, meter: Meter) -> Database:
    """Open the database that the settings name, and create or upgrade its schema. Raises `ConfigurationError`."""
    if on_postgres(settings):
        return _open_postgres(settings, data_dir, meter)
    path = sqlite_path(settings.url, data_dir)
    require_unmoved(path)
    database = SQLiteDatabase(
        path,
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
    if on_postgres(settings):
        return _reading_postgres(settings)
    return reading(sqlite_path(settings.url, data_dir))


def on_postgres(settings: DatabaseSettings) -> bool:
    """Return whether the settings name a PostgreSQL server."""
    return settings.url is not None and settings.url.startswith(POSTGRES)


def _open_postgres(settings: DatabaseSettings, data_dir: Path, meter: Meter) -> Database:
    url = checked_url(settings)
    from agent.coordinator.store.postgres.database import PostgresDatabase  # noqa: PLC0415

    database = PostgresDatabase(
        url,
        directory=data_dir / "coordinator",
        limits=limits_of(settings),
        writers=settings.writers,
        readers=settings.readers,
        max_queue=settings.max_queue,
        session_url=settings.session_url,
        meter=meter,
    )
    database.open(prepare)
    return database


@contextmanager
def _reading_postgres(settings: DatabaseSettings) -> Iterator[Connection]:
    url = checked_url(settings)
    from agent.coordinator.store.postgres.connecting import reading  # noqa: PLC0415

    with reading(url, limits_of(settings)) as connection:
        yield connection


def limits_of(settings: DatabaseSettings) -> Limits:
    """Return the limits of the settings for a PostgreSQL server. Its driver must be installed."""
    from agent.coordinator.store.postgres.connecting import Limits  # noqa: PLC0415

    return Limits(
        connect=settings.connect_seconds,
        statement=settings.statement_seconds,
        lock=settings.lock_seconds,
        retry=settings.retry_seconds,
    )


def checked_url(settings: DatabaseSettings) -> str:
    """Return the server's URL. Raises `ConfigurationError` if it is wrong or the driver is not installed."""
    url = settings.url or ""
    try:
        # Only for those who use PostgreSQL: the driver is optional, and importing it takes time.
        from agent.coordinator.store.postgres.connecting import check_url  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError(
            f"database.url names a PostgreSQL server, but its driver is not installed. Install it: {extra_command('postgresql')}."
        ) from None
    check_url(url)
    return url
