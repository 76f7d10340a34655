"""Tables, columns and indexes of migrations, in words. What a migration made stays as it is, while the tables of the program change."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from alembic import op

_TYPES: Final[dict[str, Any]] = {
    "text": sa.Text(),
    "int": sa.Integer(),
    "big": sa.BigInteger(),
    "float": sa.Float(),
    "bool": sa.Boolean(),
    "bytes": sa.LargeBinary(),
    "number": sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
    "counted": sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
}


def columns(words: str) -> list[sa.Column[Any]]:
    """Return columns, each written as NAME:TYPE. A number is the length of a text, and the database counts those of type `counted`.

    `?` allows NULL, and `=` gives the default of rows that exist.
    """
    result = []
    for word in words.split():
        name, _, form = word.partition(":")
        form, _, default = form.partition("=")
        kind = form.removesuffix("?")
        result.append(
            sa.Column(
                name,
                sa.String(length=int(kind)) if kind.isdigit() else _TYPES[kind],
                nullable=form.endswith("?"),
                autoincrement=kind == "counted",
                server_default=default.replace("''", "") if default else None,
            )
        )
    return result


def add(table: str, words: str) -> None:
    """Add columns to a table."""
    for column in columns(words):
        op.add_column(table, column)


def create(table: str, words: str, key: str, *constraints: Any, **references: str) -> None:
    """Create a table with this primary key. The references are its foreign keys: the tables, by column."""
    op.create_table(
        table,
        *columns(words),
        *(
            sa.ForeignKeyConstraint([column], [f"{target}.{column}"], name=f"fk_{table}_{column}")
            for column, target in references.items()
        ),
        sa.PrimaryKeyConstraint(*key.split(), name=f"pk_{table}"),
        *constraints,
    )


def unique(table: str, words: str, name: str | None = None) -> sa.UniqueConstraint:
    """Return the constraint that no two rows of a table have the same values in these columns."""
    return sa.UniqueConstraint(*words.split(), name=f"uq_{table}_{name or words}")


def index(name: str, table: str, words: str, condition: str | None = None, *, unique: bool = False) -> None:
    """Create an index over these columns, of the rows for which the condition holds. `-` stands before a column in descending order."""
    criterion = None if condition is None else sa.text(condition)
    over = [sa.text(f"{word[1:]} DESC") if word.startswith("-") else word for word in words.split()]
    op.create_index(
        f"ix_{name}", table, over, unique=unique, sqlite_where=criterion, postgresql_where=criterion
    )
