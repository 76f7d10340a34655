"""Compiled statements, executed by psycopg."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection, Executable
from sqlalchemy.sql.compiler import SQLCompiler

from agent.coordinator.store.compiling import CompiledStatement, Names

if TYPE_CHECKING:
    import psycopg

_Compiled = tuple[bytes, Mapping[str, Any]]


class DriverStatement:
    """A statement for psycopg."""

    def __init__(self, statement: Executable) -> None:
        self._compiled = CompiledStatement(statement, _finish)

    def rows(self, connection: Connection, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Execute the query and return all rows."""
        return self._execute(connection, values).fetchall()

    def run(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """Execute the change and return how many rows it changed."""
        return self._execute(connection, values).rowcount

    def run_many(self, connection: Connection, many: Sequence[Mapping[str, Any]]) -> int:
        """Execute the change for each of these values, at least one, in one exchange. Return how many rows all have changed."""
        if len(many) == 1:
            return self.run(connection, many[0])
        sql, fixed = self._compiled.of(connection.dialect, many[0])
        cursor = _driver(connection).cursor()
        cursor.executemany(sql, [{**fixed, **values} for values in many])
        return cursor.rowcount

    def rows_each(
        self, connection: Connection, many: Sequence[Mapping[str, Any]]
    ) -> list[list[tuple[Any, ...]]]:
        """Execute the query for each of these values, at least one, in one exchange. Return all rows of each."""
        return [cursor.fetchall() for cursor in self._execute_each(connection, many)]

    def run_each(self, connection: Connection, many: Sequence[Mapping[str, Any]]) -> list[int]:
        """Execute the change for each of these values, at least one, in one exchange. Return how many rows each has changed."""
        return [cursor.rowcount for cursor in self._execute_each(connection, many)]

    def _execute_each(
        self, connection: Connection, many: Sequence[Mapping[str, Any]]
    ) -> Iterator[psycopg.Cursor[tuple[Any, ...]]]:
        if len(many) == 1:
            yield self._execute(connection, many[0])
            return
        sql, fixed = self._compiled.of(connection.dialect, many[0])
        cursor = _driver(connection).cursor()
        cursor.executemany(sql, [{**fixed, **values} for values in many], returning=True)
        yield cursor
        while cursor.nextset():
            yield cursor

    def _execute(self, connection: Connection, values: Mapping[str, Any]) -> psycopg.Cursor[tuple[Any, ...]]:
        sql, fixed = self._compiled.of(connection.dialect, values)
        return _driver(connection).execute(sql, {**fixed, **values})


def _finish(_: Executable, compiled: SQLCompiler, names: Names) -> _Compiled:
    """Return the statement's text, and its values that are the same each time."""
    fixed = {name: value for name, value in compiled.params.items() if name not in names}
    return str(compiled).encode(), fixed


def _driver(connection: Connection) -> psycopg.Connection:
    return cast("psycopg.Connection", connection.connection.driver_connection)
