"""Statements that are compiled once, for SQLite's driver and for psycopg."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, cast

from sqlalchemy import Dialect, Executable
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler

C = TypeVar("C")

Names = tuple[str, ...]


class CompiledStatement(Generic[C]):
    """A statement, compiled for each set of names that its values have had. `finish` makes of it what a driver needs."""

    def __init__(self, statement: Executable, finish: Callable[[Executable, SQLCompiler, Names], C]) -> None:
        self._statement = statement
        self._finish = finish
        self._compiled: dict[Names, C] = {}

    def of(self, dialect: Dialect, values: Mapping[str, Any]) -> C:
        """Return the statement for values of these names. Raises what `finish` raises."""
        names = tuple(values)
        compiled_statement = self._compiled.get(names)
        if compiled_statement is None:
            # Compiled for many rows, an insert does not return the inserted row.
            clause = cast("ClauseElement", self._statement)
            compiled = clause.compile(dialect=dialect, column_keys=names, for_executemany=True)
            compiled_statement = self._finish(self._statement, cast("SQLCompiler", compiled), names)
            self._compiled[names] = compiled_statement
        return compiled_statement
