"""A consistent copy of the database, made while the coordinator goes on writing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from agent.coordinator.store.sqlite.database import reading
from agent.coordinator.store.sqlite.driver import driver
from agent.core.errors import ConfigurationError


def copy_database(source: Path, target: Path) -> None:
    """Copy a snapshot of the committed data into the new file `target`, by SQLite's backup interface. Blocking.

    The copy is made in one step, no writer waits for it, and it is a single file without a write-ahead log. Raises
    `ConfigurationError` if the source cannot be read or the copy is damaged.
    """
    with reading(source) as connection, closing(sqlite3.connect(target)) as copy:
        driver(connection).backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
        problems = [row[0] for row in copy.execute("PRAGMA integrity_check")]
    if problems != ["ok"]:
        raise ConfigurationError(f"The copy of {source} is damaged: {problems[0]}. Run `aitbc-agent fsck`.")
