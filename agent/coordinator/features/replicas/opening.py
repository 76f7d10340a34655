"""Opens the PostgreSQL database that the settings name. Its driver is optional, so it is imported here only when it is needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from agent.coordinator.features.replicas.moved import require_unmoved
from agent.coordinator.store.database import Connection, Database
from agent.coordinator.store.schema.upgrade import prepare
from agent.coordinator.store.sqlite.database import sqlite_path
from agent.core.errors import ConfigurationError
from agent.metrics import Meter
from agent.settings import Settings
from agent.settings.coordinator import DatabaseSettings
from runners.extras import extra_command

if TYPE_CHECKING:
    from agent.coordinator.features.replicas.store.connecting import DatabaseServer


def check_database(settings: Settings) -> None:
    """Raise `ConfigurationError` for a SQLite file that was moved to PostgreSQL."""
    if not settings.database.on_postgres:
        # Jobs that are accepted on an old file would be lost to the server that has the rest.
        require_unmoved(sqlite_path(settings.database.url, settings.data_dir))


def open_database(settings: Settings, meter: Meter) -> Database | None:
    """Open the database and create or upgrade its schema. Returns None for a SQLite file. Raises `ConfigurationError`."""
    database = settings.database
    if not database.on_postgres:
        return None
    server = server_of(database)
    from agent.coordinator.features.replicas.store.database import PostgresDatabase  # noqa: PLC0415

    opened = PostgresDatabase(
        server.url,
        directory=settings.data_dir / "coordinator",
        limits=server.limits,
        writers=database.writers,
        readers=database.readers,
        max_queue=database.max_queue,
        session_url=database.session_url,
        meter=meter,
    )
    opened.open(prepare)
    return opened


def read_database(settings: Settings) -> AbstractContextManager[Connection] | None:
    """Read one snapshot of the database; None for a SQLite file. Raises `ConfigurationError` on entry."""
    return reading(settings.database) if settings.database.on_postgres else None


@contextmanager
def reading(settings: DatabaseSettings) -> Iterator[Connection]:
    """Read one snapshot of the database. Raises `ConfigurationError` on entry."""
    server = server_of(settings)
    from agent.coordinator.features.replicas.store import connecting  # noqa: PLC0415

    with connecting.reading(server) as connection:
        yield connection


def server_of(settings: DatabaseSettings) -> DatabaseServer:
    """Return the server of the settings. Raises `ConfigurationError` if its URL is wrong or the driver is not installed."""
    url = settings.url or ""
    try:
        from agent.coordinator.features.replicas.store.connecting import (  # noqa: PLC0415
            DatabaseServer,
            ServerLimits,
            check_url,
        )
    except ImportError:
        raise ConfigurationError(
            f"database.url names a PostgreSQL server, but its driver is not installed. Install it: {extra_command('postgresql')}."
        ) from None
    check_url(url)
    limits = ServerLimits(
        connect=settings.connect_seconds,
        statement=settings.statement_seconds,
        lock=settings.lock_seconds,
        retry=settings.retry_seconds,
    )
    return DatabaseServer(url, limits)
