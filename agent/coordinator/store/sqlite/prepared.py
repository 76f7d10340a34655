"""Statements that run with every job: compiled once, then handed to SQLite's driver as they are.

What SQLAlchemy does around a statement takes several times as long as SQLite takes for a row by its key, and a job needs
about thirty statements from its submission to its receipt. Another engine is asked through SQLAlchemy all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Connection, Dialect, Executable, Float, LargeBinary
from sqlalchemy.sql import ClauseElement, Select
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

from agent.coordinator.store.sqlite.database import driver

Values = Mapping[str, Any]
_Compiled = tuple[str, tuple[tuple[str, Any], ...]]

DIRECT = "sqlite"


class Prepared:
    """A statement for many executions; the names of its values are the same each time, or of few kinds.

    Rows are plain tuples. The connection must be in a transaction. Raises `TypeError`, at the first execution, for a
    statement with values or columns that SQLAlchemy would convert, with lists of values, or if a value is missing.
    """

    def __init__(self, statement: Executable) -> None:
        self._statement = statement
        self._compiled: dict[tuple[str, ...], _Compiled] = {}

    def rows(self, connection: Connection, values: Values | None = None) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        values = values or {}
        if connection.dialect.name != DIRECT:
            return [tuple(row) for row in connection.execute(self._statement, values)]
        sql, order = self._for(connection.dialect, values)
        return driver(connection).execute(sql, _arguments(values, order)).fetchall()

    def row(self, connection: Connection, values: Values) -> tuple[Any, ...] | None:
        """The first row of a query, or None."""
        found = self.rows(connection, values)
        return found[0] if found else None

    def scalar(self, connection: Connection, values: Values) -> Any:
        """The first column of the first row of a query, or None."""
        found = self.row(connection, values)
        return None if found is None else found[0]

    def run(self, connection: Connection, values: Values) -> int:
        """Carry out a change. Returns how many rows it has changed."""
        if connection.dialect.name != DIRECT:
            return connection.execute(self._statement, values).rowcount
        sql, order = self._for(connection.dialect, values)
        return driver(connection).execute(sql, _arguments(values, order)).rowcount

    def run_many(self, connection: Connection, many: Sequence[Values]) -> None:
        """Carry out a change for each of these values, which all have the same names; none is fine."""
        if not many:
            return
        if connection.dialect.name != DIRECT:
            connection.execute(self._statement, many)
            return
        sql, order = self._for(connection.dialect, many[0])
        driver(connection).executemany(sql, [_arguments(values, order) for values in many])

    def _for(self, dialect: Dialect, values: Values) -> _Compiled:
        names = tuple(values)
        known = self._compiled.get(names)
        if known is None:
            known = self._compiled[names] = _compile(self._statement, dialect, names)
        return known


def _compile(statement: Executable, dialect: Dialect, names: tuple[str, ...]) -> _Compiled:
    """The statement's text, and what stands for its question marks: names, each with the value if none is given."""
    # Compiled for many rows, an insert does not return what it has inserted.
    clause = cast("ClauseElement", statement)
    compiled = cast("SQLCompiler", clause.compile(dialect=dialect, column_keys=names, for_executemany=True))
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
    return str(compiled), tuple((name, compiled.params.get(name)) for name in order)


def _converted(processor: object, kind: TypeEngine[Any]) -> bool:
    """Whether SQLAlchemy changes values of the type. To floats and bytes it does what SQLite's driver needs not."""
    return processor is not None and not isinstance(kind, Float | LargeBinary)


def _arguments(values: Values, order: tuple[tuple[str, Any], ...]) -> list[Any]:
    return [values.get(name, fixed) for name, fixed in order]
