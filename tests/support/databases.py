"""An empty database of the current schema, created once for each test process: migrating takes longer than most tests."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from agent.coordinator.store.schema.upgrade import prepare
from agent.coordinator.store.sqlite.database import SQLiteDatabase


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
