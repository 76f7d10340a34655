"""Changes of balances: numbers that every job changes, and of which a debit must know the exact sum (`store.recent`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, text

from agent.coordinator.store import locks, recent
from agent.coordinator.store.concurrency import is_concurrent
from agent.coordinator.store.locks import LANES
from agent.coordinator.store.prepared import Prepared

_NAME: Final = "balances"
OLDER_PARTS: Final = LANES * 10_000_001
"""Parts below are lasting ones, or those of replicas of an earlier version, which had other numbers."""

_add_to_balances = Prepared(
    text(
        "INSERT INTO balances (ledger_account, part, amount) VALUES (:account, :part, :amount) "
        "ON CONFLICT (ledger_account, part) DO UPDATE SET amount = balances.amount + excluded.amount"
    )
)
# The parts of the same seconds are `LANES` numbers, which correspond to those of the lasting parts.
_RECENT: Final = recent.part(_NAME, numbers=LANES, otherwise=OLDER_PARTS)
_FIRST: Final = recent.first(_NAME, otherwise=OLDER_PARTS)
_SUM: Final = (
    "SELECT coalesce(sum(amount), 0) FROM ("  # noqa: S608 - constants
    f"SELECT amount FROM balances WHERE ledger_account = :account AND part < {OLDER_PARTS} "
    f"UNION ALL SELECT amount FROM balances WHERE ledger_account = :account AND part >= {_FIRST}) AS parts"
)
_sum = Prepared(text("SELECT coalesce(sum(amount), 0) FROM balances WHERE ledger_account = :account"))
_sum_of_parts = Prepared(text(_SUM))
_add_to_recent_balances = Prepared(
    text(
        "INSERT INTO balances (ledger_account, part, amount) "  # noqa: S608 - constants
        f"VALUES (:account, {_RECENT} + CAST(:part AS integer), :amount) "
        "ON CONFLICT (ledger_account, part) DO UPDATE SET amount = balances.amount + excluded.amount"
    )
)
_spend_recent = Prepared(
    text(
        "INSERT INTO balances (ledger_account, part, amount) "
        f"SELECT CAST(:account AS varchar), {_RECENT}, -CAST(:amount AS bigint) WHERE ({_SUM}) >= :amount "
        "ON CONFLICT (ledger_account, part) DO UPDATE SET amount = balances.amount + excluded.amount"
    )
)
_take_recent = Prepared(
    text(
        f"DELETE FROM balances WHERE part >= {_FIRST} AND (:everything = 1 OR part < :until) "  # noqa: S608 - constants
        f"RETURNING ledger_account, part % {LANES}, amount"
    )
)
_spend = Prepared(
    text(
        "UPDATE balances SET amount = amount - :amount WHERE ledger_account = :account AND part = 0 AND amount >= :amount"
    )
)


def balance(connection: Connection, ledger_account: str) -> int:
    """Return the balance of a ledger account."""
    statement = _sum_of_parts if is_concurrent(connection) else _sum
    return int(statement.scalar(connection, {"account": ledger_account}))


def add(connection: Connection, changes: Sequence[Mapping[str, Any]]) -> None:
    """Add amounts to balances. Each change has an `account`, a `part` below `LANES` and an `amount`; they are sorted by account."""
    statement = _add_to_recent_balances if is_concurrent(connection) else _add_to_balances
    statement.run_many(connection, changes)


def spend(connection: Connection, amounts: Sequence[Mapping[str, Any]]) -> bool:
    """Take amounts from balances, each with its `account` and `amount`. Return False unless all suffice; then the caller undoes it.

    The caller has taken the lock that everyone takes who spends from these balances.
    """
    statement = _spend_recent if is_concurrent(connection) else _spend
    return statement.run_many(connection, amounts) == len(amounts)


def fold(connection: Connection, *, everything: bool = False) -> None:
    """Move changes into the lasting parts: those of earlier seconds, or `everything`."""
    if not is_concurrent(connection) or not locks.if_free(connection, "fold balances"):
        return
    until = LANES * recent.first_open(connection)
    changes: Counter[tuple[str, int]] = Counter()
    folded = _take_recent.rows(connection, {"everything": int(everything), "until": until})
    for account, part, amount in folded:
        changes[account, part] += amount
    _add_to_balances.run_many(
        connection,
        [
            {"account": account, "part": part, "amount": amount}
            for (account, part), amount in sorted(changes.items())
        ],
    )
    if folded:
        recent.record(connection, _NAME, until)
