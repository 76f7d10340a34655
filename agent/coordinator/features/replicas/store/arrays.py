"""Changes of many rows in one statement, whose values are arrays: the server executes it once instead of once for each row."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Self, TypeVar, cast

import orjson
from sqlalchemy import (
    ARRAY,
    BindParameter,
    Delete,
    Dialect,
    Executable,
    Insert,
    String,
    TableValuedAlias,
    Text,
    Update,
    bindparam,
    column,
    func,
    select,
)
from sqlalchemy.sql import ClauseElement, visitors
from sqlalchemy.types import TypeEngine

from agent.coordinator.store.compiling import Names

_JSON_ESCAPE: Final = re.compile(rb'\\[^"\\]')
"""An escape sequence of JSON, such as that of a line break, which arrays do not have."""

S = TypeVar("S", Insert, Update | Delete)
_Types = Mapping[str, TypeEngine[Any]]


@dataclass(frozen=True, slots=True)
class ArraysStatement:
    """A plain insert, which stores rows in the order of the arrays, or an update or deletion whose values lead to different rows.

    `fixed` are values that are the same each time.
    """

    sql: bytes
    fixed: Mapping[str, Any]

    @classmethod
    def of(cls, statement: Executable, names: Names, dialect: Dialect) -> Self | None:
        """Return the statement for values of these names, None unless it is an insert, an update or a deletion."""
        if not isinstance(statement, Insert | Update | Delete):
            return None
        types = _types(statement, names)
        parameters = _given(types)
        over_rows = (
            _insert(statement, parameters)
            if isinstance(statement, Insert)
            else _change(statement, parameters)
        )
        compiled = over_rows.compile(dialect=dialect)
        fixed = {name: value for name, value in compiled.params.items() if name not in names}
        return cls(str(compiled).encode(), fixed)

    def values(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the values of the statement for these rows."""
        return {**self.fixed, **{name: array([values[name] for values in rows]) for name in rows[0]}}


def array(values: Sequence[Any]) -> str:
    """Return values as the text of an array (https://www.postgresql.org/docs/current/arrays.html#ARRAYS-INPUT).

    psycopg's own conversion takes many times as long, and accepts no integers among floats.
    """
    with suppress(TypeError):  # bytes, and characters that JSON cannot hold
        text = orjson.dumps(values)
        # It is the array's text too, unless JSON has its own way of writing a value.
        if not _JSON_ESCAPE.search(text) and text.count(b"null") == values.count(None):
            return f"{{{text[1:-1].decode()}}}"
    return f"{{{','.join(map(_element, values))}}}"


def _element(value: Any) -> str:
    match value:
        case None:
            return "NULL"
        case str():
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return f'"{escaped}"'
        case bytes():
            return f'"\\\\x{value.hex()}"'
        case int() | float():
            return repr(value)
        case Decimal():  # a sum of integers on the server
            return str(value)
    raise TypeError(f"an array cannot hold {type(value).__name__}")


def of_keys(statement: Executable, name: str) -> Executable:
    """Return a query with a condition "column = name" as one for all values of an array."""

    def of_array(element: Any, **_: Any) -> Any:
        if isinstance(element, BindParameter) and element.key == name:
            return func.any(bindparam(name, type_=ARRAY(element.type)))
        return None

    return cast("Executable", visitors.replacement_traverse(cast("ClauseElement", statement), {}, of_array))


def _types(statement: Insert | Update | Delete, names: Names) -> _Types:
    columns = statement.table.c
    bound = {
        element.key: element.type
        for element in visitors.iterate(statement)
        if isinstance(element, BindParameter) and element.key in names
    }
    return {name: bound[name] if name in bound else columns[name].type for name in names}


def _given(types: _Types) -> TableValuedAlias:
    """Return the rows that the arrays consist of."""
    # A cast to an array of strings of limited length would cut what is too long.
    arrays = [
        bindparam(name, type_=ARRAY(Text() if isinstance(kind, String) else kind))
        for name, kind in types.items()
    ]
    return func.unnest(*arrays).table_valued(*(column(name) for name in types)).render_derived("given")


def _insert(statement: Insert, parameters: TableValuedAlias) -> Insert:
    if statement.select is None:
        return statement.from_select(parameters.c.keys(), select(*parameters.c))
    return _over_rows(statement, parameters)[0]


def _change(statement: Update | Delete, parameters: TableValuedAlias) -> Update | Delete:
    over_rows, replaced = _over_rows(statement, parameters)
    if isinstance(over_rows, Delete):
        return over_rows
    return over_rows.values({name: value for name, value in parameters.c.items() if name not in replaced})


def _over_rows(statement: S, parameters: TableValuedAlias) -> tuple[S, set[str]]:
    """Return the statement with the values of the given rows, and their names."""
    replaced = set[str]()

    def of_row(element: Any, **_: Any) -> Any:
        if isinstance(element, BindParameter) and element.key in parameters.c:
            replaced.add(element.key)
            return parameters.c[element.key]
        return None

    return cast("S", visitors.replacement_traverse(statement, {}, of_row)), replaced
