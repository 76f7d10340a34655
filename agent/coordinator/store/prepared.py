"""Statements that run with every job.

What SQLAlchemy does around a statement takes several times as long as SQLite takes for a row by its key, and a job needs
about thirty statements from its submission to its receipt. So an engine may execute them by its driver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Executable

from agent.coordinator.store.sqlite.prepared import DIALECT, DriverStatement

Values = Mapping[str, Any]


class Prepared:
    """A statement for many executions. The names of its values are the same each time, or there are few sets of names.

    Rows are plain tuples. The connection must be in a transaction. On SQLite, the first execution raises `TypeError` for a
    statement with values or columns that SQLAlchemy would convert, with lists of values, or with a value missing.
    """

    def __init__(self, statement: Executable) -> None:
        self._statement = statement
        self._sqlite = DriverStatement(statement)

    def rows(self, connection: Connection, values: Values | None = None) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        values = values or {}
        if connection.dialect.name == DIALECT:
            return self._sqlite.execute(connection, values).fetchall()
        return [tuple(row) for row in connection.execute(self._statement, values)]

    def row(self, connection: Connection, values: Values) -> tuple[Any, ...] | None:
        """Return the first row of a query, or None."""
        found = self.rows(connection, values)
        return found[0] if found else None

    def scalar(self, connection: Connection, values: Values) -> Any:
        """Return the first column of the first row of a query, or None."""
        found = self.row(connection, values)
        return None if found is None else found[0]

    def run(self, connection: Connection, values: Values) -> int:
        """Execute a change. Return how many rows it changed."""
        if connection.dialect.name == DIALECT:
            return self._sqlite.execute(connection, values).rowcount
        return connection.execute(self._statement, values).rowcount

    def run_many(self, connection: Connection, many: Sequence[Values]) -> None:
        """Execute a change for each of these values, which all have the same names. `many` may be empty."""
        if not many:
            return
        if connection.dialect.name == DIALECT:
            self._sqlite.execute_many(connection, many)
        else:
            connection.execute(self._statement, many)
