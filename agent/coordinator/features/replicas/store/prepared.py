"""Compiled statements, executed by psycopg."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection, Executable
from sqlalchemy.sql.compiler import SQLCompiler

from agent.coordinator.features.replicas.store.arrays import ArraysStatement, array, of_keys
from agent.coordinator.store.compiling import CompiledStatement, Names

if TYPE_CHECKING:
    import psycopg

_Compiled = tuple[bytes, Mapping[str, Any]]


class PostgresStatement:
    """A statement for psycopg."""

    def __init__(self, statement: Executable) -> None:
        self._statement = statement
        self._compiled = CompiledStatement(statement, _finish)
        self._over_arrays: dict[Names, ArraysStatement | None] = {}
        self._of_keys: dict[str, CompiledStatement[_Compiled]] = {}

    def rows(self, connection: Connection, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Execute the query and return all rows."""
        return self._execute(connection, values).fetchall()

    def run(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """Execute the change and return how many rows it changed."""
        return self._execute(connection, values).rowcount

    def run_many(self, connection: Connection, all_values: Sequence[Mapping[str, Any]]) -> int:
        """Execute the change for each of these values, at least one, in one exchange. Return how many rows all have changed."""
        if len(all_values) == 1:
            return self.run(connection, all_values[0])
        if (together := self._together(connection, all_values[0])) is not None:
            return _driver(connection).execute(together.sql, together.values(all_values)).rowcount
        sql, fixed = self._compiled.of(connection.dialect, all_values[0])
        cursor = _driver(connection).cursor()
        cursor.executemany(sql, [{**fixed, **values} for values in all_values])
        return cursor.rowcount

    def rows_of(self, connection: Connection, name: str, keys: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Execute the query for all of these values of `name`, at least one, together. Return the rows in the query's own order."""
        if name not in self._of_keys:
            self._of_keys[name] = CompiledStatement(of_keys(self._statement, name), _finish)
        sql, fixed = self._of_keys[name].of(connection.dialect, {name: keys})
        return _driver(connection).execute(sql, {**fixed, name: array(keys)}).fetchall()

    def rows_each(
        self, connection: Connection, all_values: Sequence[Mapping[str, Any]]
    ) -> list[list[tuple[Any, ...]]]:
        """Execute the query for each of these values, at least one, in one exchange. Return all rows of each."""
        if len(all_values) == 1:
            return [self.rows(connection, all_values[0])]
        sql, fixed = self._compiled.of(connection.dialect, all_values[0])
        cursor = _driver(connection).cursor()
        cursor.executemany(sql, [{**fixed, **values} for values in all_values], returning=True)
        results = [cursor.fetchall()]
        while cursor.nextset():
            results.append(cursor.fetchall())
        return results

    def rows_many(
        self, connection: Connection, all_values: Sequence[Mapping[str, Any]]
    ) -> list[tuple[Any, ...]]:
        """Execute the insert, update or deletion for all of these values, at least one, together. Return all rows that it returns."""
        if len(all_values) == 1:
            return self.rows(connection, all_values[0])
        together = self._together(connection, all_values[0])
        assert together is not None, "an insert, an update or a deletion"  # noqa: S101 - as described
        return _driver(connection).execute(together.sql, together.values(all_values)).fetchall()

    def _together(self, connection: Connection, values: Mapping[str, Any]) -> ArraysStatement | None:
        names = tuple(values)
        if names not in self._over_arrays:
            self._over_arrays[names] = ArraysStatement.of(self._statement, names, connection.dialect)
        return self._over_arrays[names]

    def _execute(self, connection: Connection, values: Mapping[str, Any]) -> psycopg.Cursor[tuple[Any, ...]]:
        sql, fixed = self._compiled.of(connection.dialect, values)
        return _driver(connection).execute(sql, {**fixed, **values})


def _finish(_: Executable, compiled: SQLCompiler, names: Names) -> _Compiled:
    """Return the statement's text, and its values that are the same each time."""
    fixed = {name: value for name, value in compiled.params.items() if name not in names}
    return str(compiled).encode(), fixed


def _driver(connection: Connection) -> psycopg.Connection:
    return cast("psycopg.Connection", connection.connection.driver_connection)
