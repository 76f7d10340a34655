"""Numbers that every job changes: what changed in the last seconds, in rows of their own on PostgreSQL.

While a transaction of another program holds a snapshot, PostgreSQL cannot remove old versions of a row, and an update or a query has
to pass all of them. So a change updates the row of the current seconds, and `fold` (of `counts` and `changed_balances`) moves older
rows into the lasting ones. A number is the sum of both. Its readers begin at the first row that can still exist, which `fold` records in
the same transaction. A row is moved when all transactions have ended that began in its seconds: so none adds to it any more.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text

from agent.coordinator.store.prepared import Prepared

SECONDS: Final = 10
"""For how long changes update the same row."""
_PART: Final = f"(extract(epoch FROM now())::bigint / {SECONDS})"
"""The number of the current seconds: those of the transaction's start."""
_EARLIEST: Final = f"extract(epoch FROM min(xact_start))::bigint / {SECONDS}"

# A transaction has its number from its first statement on; one without changes nothing.
_open = Prepared(
    text(
        f"SELECT least({_PART}, {_EARLIEST}) - 1 FROM pg_stat_activity "  # noqa: S608 - constants
        "WHERE datname = current_database() AND backend_xid IS NOT NULL"
    )
)
_record = Prepared(
    text(
        "INSERT INTO recent_parts (name, first) VALUES (:name, :first) ON CONFLICT (name) DO UPDATE SET first = excluded.first"
    )
)


def first(name: str, otherwise: int = 0) -> str:
    """Return the SQL expression for the first part of these numbers that may exist."""
    return f"coalesce((SELECT first FROM recent_parts WHERE name = '{name}'), {otherwise})"  # noqa: S608 - constants


def part(name: str, numbers: int = 1, otherwise: int = 0) -> str:
    """Return the SQL expression for the part that a change adds to; each part has so many numbers.

    It is one that readers see, even if the server's clock was set back.
    """
    return f"greatest({numbers} * {_PART}, {first(name, otherwise)})"


def first_open(connection: Connection) -> int:
    """Return the first part to which a transaction may still add."""
    return int(_open.scalar(connection, {}))


def record(connection: Connection, name: str, first: int) -> None:
    """Record that no part of these numbers before this one exists any more."""
    _record.run(connection, {"name": name, "first": first})
