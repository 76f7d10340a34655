"""Statements that run with every job.

What SQLAlchemy does around a statement takes several times as long as SQLite takes for a row by its key, and a job needs
about thirty statements from its submission to its receipt. So an engine may execute them by its driver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from sqlalchemy import Connection, Executable

from agent.coordinator.store.sqlite.prepared import SQLiteStatement

Values = Mapping[str, Any]

STATEMENTS: Final = "statements"
"""The execution option of an engine with the class of its prepared statements, if it is not SQLite."""


class DriverStatement(Protocol):
    """A statement that a driver executes. Its methods do what those of `Prepared` do; `all_values` and `keys` are not empty."""

    def rows(self, connection: Connection, values: Values) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""

    def run(self, connection: Connection, values: Values) -> int:
        """Execute a change."""

    def run_many(self, connection: Connection, all_values: Sequence[Values]) -> int:
        """Execute a change for each of these values."""

    def rows_of(self, connection: Connection, name: str, keys: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return all rows of a query for each of these values of `name`."""

    def rows_each(self, connection: Connection, all_values: Sequence[Values]) -> list[list[tuple[Any, ...]]]:
        """Return all rows of a query for each of these values."""

    def rows_many(self, connection: Connection, all_values: Sequence[Values]) -> list[tuple[Any, ...]]:
        """Execute a change for each of these values, and return the rows that it returns."""


class Prepared:
    """A statement for many executions. The names of its values are the same each time, or there are few sets of names.

    Rows are plain tuples. The connection must be in a transaction. On SQLite, the first execution raises `TypeError` for a
    statement with values or columns that SQLAlchemy would convert, with lists of values, or with a value missing.
    """

    def __init__(self, statement: Executable) -> None:
        self._statement = statement
        self._by_dialect: dict[str, DriverStatement] = {}

    def rows(self, connection: Connection, values: Values | None = None) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        return self._on(connection).rows(connection, values or {})

    def row(self, connection: Connection, values: Values) -> tuple[Any, ...] | None:
        """Return the first row of a query, or None."""
        rows = self.rows(connection, values)
        return rows[0] if rows else None

    def scalar(self, connection: Connection, values: Values) -> Any:
        """Return the first column of the first row of a query, or None."""
        row = self.row(connection, values)
        return None if row is None else row[0]

    def run(self, connection: Connection, values: Values) -> int:
        """Execute a change. Return how many rows it changed."""
        return self._on(connection).run(connection, values)

    def run_many(self, connection: Connection, all_values: Sequence[Values]) -> int:
        """Execute a change for each of these values, which all have the same names. Return how many rows all have changed."""
        return self._on(connection).run_many(connection, all_values) if all_values else 0

    def rows_of(self, connection: Connection, name: str, keys: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return all rows of a query for each of these values of `name`, on a server in one execution and in the query's own order."""
        return self._on(connection).rows_of(connection, name, keys) if keys else []

    def rows_each(self, connection: Connection, all_values: Sequence[Values]) -> list[list[tuple[Any, ...]]]:
        """Return all rows of a query for each of these values, which all have the same names. On a server, in one exchange."""
        return self._on(connection).rows_each(connection, all_values) if all_values else []

    def rows_many(self, connection: Connection, all_values: Sequence[Values]) -> list[tuple[Any, ...]]:
        """Do the same as `run_many`, and return the rows that the change returns, in no particular order."""
        return self._on(connection).rows_many(connection, all_values) if all_values else []

    def _on(self, connection: Connection) -> DriverStatement:
        # Tests and `aitbc-agent migrate` have two engines in one process.
        dialect = connection.dialect.name
        statement = self._by_dialect.get(dialect)
        if statement is None:
            make: Callable[[Executable], DriverStatement] = connection.get_execution_options().get(
                STATEMENTS, SQLiteStatement
            )
            statement = self._by_dialect[dialect] = make(self._statement)
        return statement
