"""Compiled statements, executed by SQLite's driver."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import repeat
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Executable, Float, LargeBinary
from sqlalchemy.sql import Select
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

from agent.coordinator.store.compiling import CompiledStatement, Names
from agent.coordinator.store.sqlite.driver import driver

_Arguments = Callable[[Mapping[str, Any]], Sequence[Any]]
_Compiled = tuple[str, _Arguments]


class SQLiteStatement:
    """A statement for SQLite's driver. Raises `TypeError` as `Prepared` describes."""

    def __init__(self, statement: Executable) -> None:
        self._compiled = CompiledStatement(statement, _finish)

    def rows(self, connection: Connection, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Execute the query and return all rows."""
        return self._execute(connection, values).fetchall()

    def run(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """Execute the change and return how many rows it changed."""
        return self._execute(connection, values).rowcount

    def run_many(self, connection: Connection, all_values: Sequence[Mapping[str, Any]]) -> int:
        """Execute the change for each of these values, at least one. Return how many rows all have changed."""
        sql, arguments = self._compiled.of(connection.dialect, all_values[0])
        return driver(connection).executemany(sql, map(arguments, all_values)).rowcount

    def rows_of(self, connection: Connection, name: str, keys: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Execute the query for each of these values of `name`. Return all rows, in the order of the values."""
        cursors = self._execute_each(connection, [{name: key} for key in keys])
        return [row for cursor in cursors for row in cursor]

    def rows_each(
        self, connection: Connection, all_values: Sequence[Mapping[str, Any]]
    ) -> list[list[tuple[Any, ...]]]:
        """Execute the query for each of these values. Return all rows of each."""
        return [cursor.fetchall() for cursor in self._execute_each(connection, all_values)]

    def rows_many(
        self, connection: Connection, all_values: Sequence[Mapping[str, Any]]
    ) -> list[tuple[Any, ...]]:
        """Execute the change for each of these values, at least one. Return all rows that it returns."""
        return [row for cursor in self._execute_each(connection, all_values) for row in cursor]

    def _execute_each(
        self, connection: Connection, all_values: Sequence[Mapping[str, Any]]
    ) -> Iterator[sqlite3.Cursor]:
        sql, arguments = self._compiled.of(connection.dialect, all_values[0])
        # In C as far as possible, since the statements themselves take only microseconds.
        return map(driver(connection).execute, repeat(sql), map(arguments, all_values))

    def _execute(self, connection: Connection, values: Mapping[str, Any]) -> sqlite3.Cursor:
        sql, arguments = self._compiled.of(connection.dialect, values)
        return driver(connection).execute(sql, arguments(values))


def _finish(statement: Executable, compiled: SQLCompiler, names: Names) -> _Compiled:
    """Return the statement's text, and the function that returns the values of its question marks."""
    dialect = compiled.dialect
    # At the first use and not with the first row that is wrong: each statement runs in some test.
    if compiled.post_compile_params:
        raise TypeError(f"a list of values in this statement has no fixed length: {compiled}")
    order = tuple(compiled.positiontup or ())
    kinds = [compiled.binds[name].type for name in order]
    if any(_converted(kind.dialect_impl(dialect).bind_processor(dialect), kind) for kind in kinds):
        raise TypeError(f"a value of this statement needs converting: {compiled}")
    columns = statement.selected_columns if isinstance(statement, Select) else ()
    kinds = [column.type for column in columns]
    if any(_converted(kind.dialect_impl(dialect).result_processor(dialect, None), kind) for kind in kinds):
        raise TypeError(f"a column of this statement needs converting: {compiled}")
    if missing := [name for name in order if compiled.binds[name].required and name not in names]:
        raise TypeError(f"values are missing for {', '.join(missing)}: {compiled}")
    return str(compiled), _reader(
        order, {name: compiled.params.get(name) for name in order if name not in names}
    )


def _converted(processor: object, kind: TypeEngine[Any]) -> bool:
    """Return whether values of the type need a conversion. SQLite's driver needs none for floats and bytes."""
    return processor is not None and not isinstance(kind, Float | LargeBinary)


def _reader(order: Sequence[str], fixed: Mapping[str, Any]) -> _Arguments:
    """Return the function that returns the values in this order; `fixed` are those that are not given."""
    if not order:
        return lambda _: ()
    # In C as far as possible. With one name, it returns no tuple.
    select = itemgetter(*order) if len(order) > 1 else lambda values: (values[order[0]],)
    return (lambda values: select({**fixed, **values})) if fixed else select
