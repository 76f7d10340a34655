"""What all tables share, and the parts of the schema that depend on the engine."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger, Integer, MetaData, text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

COUNTED = BigInteger().with_variant(Integer, "sqlite")
"""A number that the database counts up. SQLite counts only its own INTEGER."""

HAS_BLOB: Final = "has_blob"
"""In the `info` of a column with the names of blobs: the condition for the rows whose blobs are not removed from the store; empty for all rows."""

NEVER_REUSED: Final[dict[str, Any]] = {"sqlite_autoincrement": True}
"""Options of a table whose `COUNTED` key never repeats a number, even after the newest rows have been deleted."""


def where(condition: str) -> dict[str, Any]:
    """Return the options of an index that covers only the rows for which the condition holds."""
    return {f"{engine}_where": text(condition) for engine in ("sqlite", "postgresql")}
