"""Changes of balances: numbers that every job changes.

While a transaction of another program holds a snapshot, PostgreSQL cannot remove old versions of a row, and an update has to pass all of
them. So changes update a row of the current seconds there, and `fold` moves older ones into the lasting parts of the balance, which
thus change once in these seconds. A balance is the sum of all of its parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, text

from agent.coordinator.store import locks
from agent.coordinator.store.locks import LANES, POSTGRESQL
from agent.coordinator.store.prepared import Prepared

RECENT_SECONDS: Final = 10
"""For how long changes of a balance update the same row on PostgreSQL."""

_add_to_balances = Prepared(
    text(
        "INSERT INTO balances (ledger_account, part, amount) VALUES (:account, :part, :amount) "
        "ON CONFLICT (ledger_account, part) DO UPDATE SET amount = balances.amount + excluded.amount"
    )
)
# The parts of the current seconds: `LANES` numbers behind those of `LANES` lasting parts.
_RECENT: Final = (
    f"({LANES} + {LANES} * (extract(epoch FROM now())::bigint / {RECENT_SECONDS} % 10000000))::integer"
)
_add_to_recent_balances = Prepared(
    text(
        "INSERT INTO balances (ledger_account, part, amount) "  # noqa: S608 - constants
        f"VALUES (:account, {_RECENT} + CAST(:part AS integer), :amount) "
        "ON CONFLICT (ledger_account, part) DO UPDATE SET amount = balances.amount + excluded.amount"
    )
)
_spend_recent = Prepared(
    text(
        "INSERT INTO balances (ledger_account, part, amount) "  # noqa: S608 - constants
        f"SELECT CAST(:account AS varchar), {_RECENT}, -CAST(:amount AS bigint) "
        "WHERE (SELECT sum(amount) FROM balances WHERE ledger_account = :account) >= :amount "
        "ON CONFLICT (ledger_account, part) DO UPDATE SET amount = balances.amount + excluded.amount"
    )
)
_take_recent = Prepared(
    text(
        f"DELETE FROM balances WHERE part >= {LANES} "  # noqa: S608 - constants
        f"AND (:everything = 1 OR part / {LANES} NOT IN ({_RECENT} / {LANES}, {_RECENT} / {LANES} - 1)) "
        f"RETURNING ledger_account, part % {LANES}, amount"
    )
)
_spend = Prepared(
    text(
        "UPDATE balances SET amount = amount - :amount WHERE ledger_account = :account AND part = 0 AND amount >= :amount"
    )
)


def add(connection: Connection, changes: Sequence[Mapping[str, Any]]) -> None:
    """Add amounts to balances. Each change has an `account`, a `part` below `LANES` and an `amount`; they are sorted by account."""
    statement = _add_to_recent_balances if connection.dialect.name == POSTGRESQL else _add_to_balances
    statement.run_many(connection, changes)


def spend(connection: Connection, amounts: Sequence[Mapping[str, Any]]) -> bool:
    """Take amounts from balances, each with its `account` and `amount`. Return False unless all suffice; then the caller undoes it.

    The caller has taken the lock that everyone takes who spends from these balances.
    """
    statement = _spend_recent if connection.dialect.name == POSTGRESQL else _spend
    return statement.run_many(connection, amounts) == len(amounts)


def fold(connection: Connection, *, everything: bool = False) -> None:
    """Move changes into the lasting parts: those of earlier seconds, or `everything`."""
    if connection.dialect.name != POSTGRESQL or not locks.if_free(connection, "fold balances"):
        return
    changes: Counter[tuple[str, int]] = Counter()
    for account, part, amount in _take_recent.rows(connection, {"everything": int(everything)}):
        changes[account, part] += amount
    _add_to_balances.run_many(
        connection,
        [
            {"account": account, "part": part, "amount": amount}
            for (account, part), amount in sorted(changes.items())
        ],
    )
