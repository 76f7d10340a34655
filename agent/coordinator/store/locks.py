"""Locks that a transaction takes before it reads what it is about to change, and holds until it ends.

On SQLite there is one writer, and they do nothing. On PostgreSQL writes run at the same time, and each takes what it needs in the
order of this list, several of a kind in the order of their ids, so that no two wait for each other: jobs, accounts, offers, miners.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

_ADVISORY = text("SELECT pg_advisory_xact_lock(:key)")
_SCHEMA = 0x41495442_0001
"""The key of the schema's lock: any number that other programs on the database do not use."""


def schema(connection: Connection) -> None:
    """Wait until no other process changes the schema."""
    if connection.dialect.name == "postgresql":
        connection.execute(_ADVISORY, {"key": _SCHEMA})
