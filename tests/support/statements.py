"""Records the statements that a coordinator sends to SQLite, and their query plans."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from sqlalchemy import Connection, Engine, event

from agent.coordinator.store.sqlite import database as engine
from agent.coordinator.store.sqlite import prepared

Statement = tuple[str, Sequence[Any]]


class _Noting:
    """A SQLite connection that records its statements."""

    def __init__(self, connection: sqlite3.Connection, noted: list[Statement]) -> None:
        self._connection = connection
        self._noted = noted

    def execute(self, sql: str, values: Sequence[Any]) -> sqlite3.Cursor:
        self._noted.append((sql, values))
        return self._connection.execute(sql, values)

    def executemany(self, sql: str, values: Iterable[Sequence[Any]]) -> sqlite3.Cursor:
        rows = list(values)
        self._noted.append((sql, rows[0]))
        return self._connection.executemany(sql, rows)


@contextmanager
def recorded() -> Iterator[list[Statement]]:
    """Record every statement with its (first) values, from every code path and thread."""
    noted: list[Statement] = []

    def note(_: Connection, _cursor: Any, sql: str, values: Any, _context: Any, many: bool) -> None:
        noted.append((sql, values[0] if many else values))

    def driver(connection: Connection) -> Any:
        return _Noting(engine.driver(connection), noted)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        with mock.patch.object(prepared, "driver", driver):
            yield noted
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def plans(database: Path, statements: Sequence[Statement]) -> dict[str, list[str]]:
    """Return SQLite's plan for each query and change."""
    found = {}
    with sqlite3.connect(database) as connection:
        for sql, values in statements:
            if sql.lstrip().startswith(("SELECT", "UPDATE", "DELETE")):
                rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", tuple(values))
                found[sql] = [row[3] for row in rows]
    return found
