"""Rows as frozen dataclasses, whose fields have the names of columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Column, Connection, Executable, Table

R = TypeVar("R")


def columns(table: Table, record: type[Any]) -> tuple[Column[Any], ...]:
    """Return the columns of a table with the names of a record's fields, in their order."""
    return tuple(table.c[name] for name in record.__dataclass_fields__)


def values(record: Any) -> dict[str, Any]:
    """Return a record's values by the names of its columns."""
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def find(connection: Connection, record: Callable[..., R], query: Executable) -> R | None:
    """Return the record of a query's only row, or None."""
    row = connection.execute(query).one_or_none()
    return None if row is None else record(*row)


def find_all(connection: Connection, record: Callable[..., R], query: Executable) -> list[R]:
    """Return the records of a query's rows."""
    return [record(*row) for row in connection.execute(query)]
