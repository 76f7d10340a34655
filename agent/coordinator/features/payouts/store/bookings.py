"""The money of payouts in the ledger: reserved for a batch, and then moved out of the ledger or back to the miners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from agent.coordinator.features.payouts.rules import pay_out, payout, post_back, reserve
from agent.coordinator.store import access, changed_balances, ledger, locks
from agent.coordinator.store.database import StaleRead
from agent.coordinator.store.ledger import HELD, SETTLED, Status, TransactionKind, TransactionRecord
from agent.coordinator.store.schema.tables import balances, transactions
from agent.core.market.ledger import earned


@dataclass(frozen=True, slots=True)
class PayoutBooking:
    """A payment of a batch of payouts in the ledger. `amount` is in units of 1e-8."""

    tx_id: str
    miner_id: str
    batch_id: str
    amount: int


def lock(connection: Connection, name: str = "") -> None:
    """Wait until no other transaction creates a batch, or changes this batch, or this miner's payout address.

    Take it after the locks of accounts, and before those of balances.
    """
    locks.wait(connection, f"payouts {name}")


def open_payouts(connection: Connection, bookings: Sequence[PayoutBooking], now: float) -> None:
    """Store the pending payouts of a batch, each to another miner, and the entries that reserve the money.

    Raises `StaleRead` if another transaction has taken a part of it since the balance was read.
    """
    access.ensure_account(connection, access.MINERS, "payouts", now)
    # In the order in which all transactions lock balances.
    ordered = sorted(bookings, key=lambda booking: earned(booking.miner_id))
    locks.earnings(connection, [booking.miner_id for booking in ordered])
    for booking in ordered:
        account = earned(booking.miner_id)
        if not changed_balances.spend(connection, [{"account": account, "amount": booking.amount}]):
            raise StaleRead
        record = TransactionRecord(
            booking.tx_id, TransactionKind.PAYOUT, Status.PENDING, access.MINERS, booking.miner_id, None, booking.amount,
            0, 0, booking.batch_id, now, None,
        )  # fmt: skip
        ledger.add(connection, [record])
    entries = [
        (booking.tx_id, HELD, reserve(booking.miner_id, booking.batch_id, booking.amount))
        for booking in ordered
    ]
    ledger.post(connection, entries, booked={earned(booking.miner_id) for booking in ordered})


def close_payouts(
    connection: Connection, bookings: Sequence[PayoutBooking], now: float, *, confirmed: bool
) -> None:
    """Move the money of payouts out of the ledger, or back to their miners. Raises `RuntimeError` if one is closed already."""
    rows = [
        {
            "key": booking.tx_id,
            "status": (Status.SETTLED if confirmed else Status.REFUNDED).value,
            "miner_id": booking.miner_id,
            "paid": booking.amount if confirmed else 0,
            "fee": 0,
            "settled_at": now,
        }
        for booking in bookings
    ]
    if already := {booking.tx_id for booking in bookings} - ledger.close(connection, rows):
        raise RuntimeError(f"{min(already)} is closed already")
    entries = [
        (
            booking.tx_id,
            SETTLED,
            pay_out(booking.batch_id, booking.amount)
            if confirmed
            else post_back(booking.miner_id, booking.batch_id, booking.amount),
        )
        for booking in bookings
    ]
    ledger.post(connection, entries)


def problems(connection: Connection) -> list[str]:
    """Return the batches whose reserved money is not that of their pending payouts. Reads everything; for `fsck` and tests."""
    held = select(transactions.c.note, func.sum(transactions.c.held)).where(
        transactions.c.kind == TransactionKind.PAYOUT.value, transactions.c.status == Status.PENDING.value
    )
    pending = {
        payout(batch_id): int(amount) for batch_id, amount in connection.execute(held.group_by("note"))
    }
    stored = select(balances.c.ledger_account, func.sum(balances.c.amount)).where(
        balances.c.ledger_account.startswith(payout(""), autoescape=True)
    )
    reserved = {
        account: int(amount)
        for account, amount in connection.execute(stored.group_by(balances.c.ledger_account))
    }
    return [
        f"{account} has {reserved.get(account, 0)}, but its pending payouts add up to {pending.get(account, 0)}"
        for account in sorted(pending.keys() | reserved.keys())
        if reserved.get(account, 0) != pending.get(account, 0)
    ]
