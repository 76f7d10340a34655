"""A copy of the database that is whole, made while the coordinator goes on writing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, select

from agent.coordinator.store.schema.tables import artifacts
from agent.coordinator.store.sqlite.database import driver, reading
from agent.core.errors import ConfigurationError


def copy_database(source: Path, target: Path) -> None:
    """Copy what is committed now into the new file `target`, by SQLite's backup interface. Blocking.

    It is one snapshot, taken in one step, for which no writer waits. The copy has no log beside it: it is one file. Raises
    `ConfigurationError` if the source cannot be read or the copy is damaged.
    """
    with reading(source) as connection, closing(sqlite3.connect(target)) as copy:
        driver(connection).backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
        faults = [row[0] for row in copy.execute("PRAGMA integrity_check")]
    if faults != ["ok"]:
        raise ConfigurationError(f"The copy of {source} is damaged: {faults[0]}. Run `aitbc-agent fsck`.")


def stored_artifacts(connection: Connection) -> Iterator[str]:
    """The ids of all artifacts that the database knows."""
    yield from connection.execute(select(artifacts.c.artifact_id)).scalars()
