"""Batches of payouts, their payments, and the transfers that pay them.

Each function that changes a batch takes the batch's lock, and changes only rows in a state from which the tables of
`agent.coordinator.features.payouts.rules` lead. Money moves in the same transaction as the state of its payment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from agent.coordinator.features.payouts.rules import (
    BATCHES,
    PAYMENTS,
    PayoutCandidate,
    PayoutEvent,
    TransferState,
    outcome_of,
    sources,
)
from agent.coordinator.features.payouts.store import addresses, bookings
from agent.coordinator.features.payouts.tables import payout_batches, payout_transfers, payouts
from agent.coordinator.features.reputation.store import miner_stats
from agent.coordinator.store import events, records
from agent.coordinator.store.events import NOBODY, NewEvent
from agent.coordinator.store.schema.tables import balances, miners
from agent.core.market.ledger import earned
from agent.core.values.quantities import format_time, format_units
from aitbc.answers.payouts import PaymentState


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """A batch. `amount` and `minimum` are in units of 1e-8; `rate` is a decimal string; `manifest` is its leaf of the log."""

    batch_id: str
    adapter: str
    currency: str
    decimals: int
    rate: str
    state: str
    cut_off: float
    minimum: int
    count: int
    amount: int
    note: str
    manifest: str | None
    created_at: float
    created_by: str
    approved_at: float | None = None
    approved_by: str | None = None
    finished_at: float | None = None
    cancelled_by: str | None = None
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class PayoutRecord:
    """A payment. `amount` is in units of 1e-8, `sent_amount` a decimal string in the batch's currency; `handed_in` is JSON."""

    payout_id: str
    batch_id: str
    position: int
    miner_id: str
    tx_id: str
    address: str
    amount: int
    sent_amount: str
    salt: str
    state: str
    created_at: float
    transfer_id: str | None = None
    waiting_for: str | None = None
    handed_in: str | None = None
    reference: str | None = None
    reason: str | None = None
    finished_at: float | None = None

    @property
    def booking(self) -> bookings.PayoutBooking:
        """The payment in the ledger."""
        return bookings.PayoutBooking(self.tx_id, self.miner_id, self.batch_id, self.amount)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a payment ended, `confirmed` or failed. `reference` and `reason` are for its miner."""

    payout_id: str
    confirmed: bool
    reason: str | None = None
    reference: str | None = None


_BATCH: Final = records.columns(payout_batches, BatchRecord)
_PAYOUT: Final = records.columns(payouts, PayoutRecord)


def candidates(
    connection: Connection, adapter: str, currency: str, first_held_day: int | None, now: float
) -> list[PayoutCandidate]:
    """Return all miners that have earned money which was not paid out."""
    prefix = earned("")
    query = select(balances.c.ledger_account, func.sum(balances.c.amount)).where(
        balances.c.ledger_account.startswith(prefix, autoescape=True)
    )
    amounts = {
        account.removeprefix(prefix): int(amount)
        for account, amount in connection.execute(query.group_by(balances.c.ledger_account))
    }
    held_amounts = _held(connection, first_held_day)
    addresses_in_force = addresses.all_in_force(connection, now)
    miner_rows = connection.execute(select(miners.c.miner_id, miners.c.registered_at, miners.c.excluded_at))
    return [
        PayoutCandidate(
            miner_id,
            record.address
            if (record := addresses_in_force.get(miner_id)) and record.destination[:2] == (adapter, currency)
            else None,
            amounts[miner_id],
            held_amounts.get(miner_id, 0),
            registered_at,
            excluded=excluded_at is not None,
        )
        for miner_id, registered_at, excluded_at in miner_rows
        # Most miners of a large network have nothing to be paid, and need not be considered.
        if amounts.get(miner_id, 0) > 0
    ]


def _held(connection: Connection, first_day: int | None, miner_id: str | None = None) -> dict[str, int]:
    if first_day is None:
        return {}
    return miner_stats.earned_from(connection, first_day, miner_id)


def held(connection: Connection, miner_id: str, first_held_day: int | None) -> int:
    """Return what a miner has earned from this UTC day on, in units of 1e-8."""
    return _held(connection, first_held_day, miner_id).get(miner_id, 0)


def totals_of_miner(connection: Connection, miner_id: str) -> tuple[int, int]:
    """Return what was paid out to a miner, and what is on its way, in units of 1e-8."""
    query = select(payouts.c.state, func.sum(payouts.c.amount)).where(payouts.c.miner_id == miner_id)
    by_state = {state: int(amount) for state, amount in connection.execute(query.group_by(payouts.c.state))}
    on_its_way = sum(amount for state, amount in by_state.items() if not PaymentState(state).final)
    return by_state.get(PaymentState.CONFIRMED, 0), on_its_way


def add_batch(connection: Connection, batch: BatchRecord, payments: Sequence[PayoutRecord]) -> None:
    """Store a batch and reserve its money. Raises `StaleRead` if a balance has changed since it was read."""
    connection.execute(insert(payout_batches), records.values(batch))
    bookings.open_payouts(connection, [payment.booking for payment in payments], batch.created_at)
    connection.execute(insert(payouts), [records.values(payment) for payment in payments])


def find_batch(connection: Connection, batch_id: str) -> BatchRecord | None:
    """Return a batch, or None."""
    return records.find(connection, BatchRecord, select(*_BATCH).where(payout_batches.c.batch_id == batch_id))


def batches(
    connection: Connection, *, limit: int, before_id: str | None, state: str | None = None
) -> list[BatchRecord]:
    """Return batches, newest first, before the id `before_id`."""
    query = select(*_BATCH)
    if before_id is not None:
        query = query.where(payout_batches.c.batch_id < before_id)
    if state is not None:
        query = query.where(payout_batches.c.state == state)
    rows = connection.execute(query.order_by(payout_batches.c.batch_id.desc()).limit(limit))
    return [BatchRecord(*row) for row in rows]


def to_prepare(connection: Connection, adapter: str) -> list[BatchRecord]:
    """Return the batches of an adapter with payments that are approved and not prepared, oldest first."""
    approved = (
        select(payouts.c.payout_id)
        .where(payouts.c.batch_id == payout_batches.c.batch_id, payouts.c.finished_at.is_(None))
        .where(payouts.c.state == PaymentState.APPROVED.value)
    )
    query = select(*_BATCH).where(
        # A batch may have all its payments prepared and wait for their outcome only.
        payout_batches.c.finished_at.is_(None),
        payout_batches.c.adapter == adapter,
        approved.exists(),
    )
    return records.find_all(connection, BatchRecord, query.order_by(payout_batches.c.batch_id))


def unfinished(connection: Connection) -> list[BatchRecord]:
    """Return the batches that are approved and have not ended, oldest first."""
    query = select(*_BATCH).where(
        payout_batches.c.finished_at.is_(None), payout_batches.c.approved_at.is_not(None)
    )
    return records.find_all(connection, BatchRecord, query.order_by(payout_batches.c.batch_id))


def excluded(connection: Connection, batch_id: str) -> frozenset[str]:
    """Return the payments of a batch to miners that are excluded, of those that are not prepared yet."""
    query = (
        select(payouts.c.payout_id)
        .join(miners, miners.c.miner_id == payouts.c.miner_id)
        .where(
            payouts.c.batch_id == batch_id,
            payouts.c.state.in_([PaymentState.CREATED.value, PaymentState.APPROVED.value]),
            miners.c.excluded_at.is_not(None),
        )
    )
    return frozenset(connection.scalars(query))


def all_batches(connection: Connection) -> list[BatchRecord]:
    """Return all batches, oldest first."""
    return records.find_all(connection, BatchRecord, select(*_BATCH).order_by(payout_batches.c.batch_id))


def of_batch(connection: Connection, batch_id: str, *states: PaymentState) -> list[PayoutRecord]:
    """Return the payments of a batch, in their order; with `states`, only those in one of them."""
    query = select(*_PAYOUT).where(payouts.c.batch_id == batch_id)
    if states:
        query = query.where(payouts.c.state.in_([state.value for state in states]))
    return records.find_all(connection, PayoutRecord, query.order_by(payouts.c.position))


def of_transfer(connection: Connection, transfer_id: str) -> list[PayoutRecord]:
    """Return the payments of a transfer, in their order."""
    query = select(*_PAYOUT).where(payouts.c.transfer_id == transfer_id)
    return records.find_all(connection, PayoutRecord, query.order_by(payouts.c.position))


def counts(connection: Connection, batch_ids: Collection[str]) -> dict[str, Counter[str]]:
    """Return for each of these batches the number of payments by state."""
    query = select(payouts.c.batch_id, payouts.c.state, func.count()).where(payouts.c.batch_id.in_(batch_ids))
    counts_by_batch: dict[str, Counter[str]] = {batch_id: Counter() for batch_id in batch_ids}
    for batch_id, state, count in connection.execute(query.group_by(payouts.c.batch_id, payouts.c.state)):
        counts_by_batch[batch_id][state] = int(count)
    return counts_by_batch


def find(connection: Connection, payout_id: str) -> PayoutRecord | None:
    """Return a payment, or None."""
    return records.find(connection, PayoutRecord, select(*_PAYOUT).where(payouts.c.payout_id == payout_id))


def of_miner(
    connection: Connection, miner_id: str, *, limit: int, before_id: str | None
) -> list[tuple[PayoutRecord, BatchRecord]]:
    """Return a miner's payments with their batches, newest first, before the id `before_id`."""
    joined = payouts.join(payout_batches, payouts.c.batch_id == payout_batches.c.batch_id)
    query = select(*_PAYOUT, *_BATCH).select_from(joined).where(payouts.c.miner_id == miner_id)
    if before_id is not None:
        query = query.where(payouts.c.payout_id < before_id)
    rows = connection.execute(query.order_by(payouts.c.payout_id.desc()).limit(limit))
    split = len(_PAYOUT)
    return [(PayoutRecord(*row[:split]), BatchRecord(*row[split:])) for row in rows]


def move_batch(connection: Connection, batch_id: str, event: PayoutEvent, **values: Any) -> bool:
    """Apply an event to a batch. Return False, changing nothing, if its state does not allow it."""
    for target, source_states in sources(BATCHES, event).items():
        change = (
            update(payout_batches)
            .where(
                payout_batches.c.batch_id == batch_id,
                payout_batches.c.state.in_([state.value for state in source_states]),
            )
            .values(state=target.value, **values)
        )
        if connection.execute(change).rowcount == 1:
            return True
    return False


def move_payments(
    connection: Connection, condition: ColumnElement[bool], event: PayoutEvent, **values: Any
) -> int:
    """Apply an event to the payments that satisfy a condition and whose state allows it. Return how many."""
    changed = 0
    for target, source_states in sources(PAYMENTS, event).items():
        allowed = payouts.c.state.in_([state.value for state in source_states])
        change = update(payouts).where(condition, allowed).values(state=target.value, **values)
        changed += connection.execute(change).rowcount
    return changed


def approve(connection: Connection, batch_id: str, manifest: str, approved_by: str, now: float) -> bool:
    """Approve a batch. Return False, changing nothing, if its state does not allow it."""
    bookings.lock(connection, batch_id)
    values = {"manifest": manifest, "approved_at": now, "approved_by": approved_by}
    if not move_batch(connection, batch_id, PayoutEvent.APPROVE, **values):
        return False
    move_payments(connection, payouts.c.batch_id == batch_id, PayoutEvent.APPROVE)
    return True


def cancel(connection: Connection, batch_id: str, cancelled_by: str, now: float) -> bool:
    """Cancel a batch and move its money back. Return False, changing nothing, if its state does not allow it."""
    bookings.lock(connection, batch_id)
    if not move_batch(connection, batch_id, PayoutEvent.CANCEL, cancelled_by=cancelled_by, finished_at=now):
        return False
    payments = [payment for payment in of_batch(connection, batch_id) if payment.finished_at is None]
    moved = move_payments(
        connection, payouts.c.batch_id == batch_id, PayoutEvent.CANCEL, finished_at=now, waiting_for=None
    )
    # The lock and the states exclude this. If it happened, some money would move back and some would not.
    if moved != len(payments):
        raise RuntimeError(f"{batch_id} has payments that cannot be cancelled")
    bookings.close_payouts(connection, [payment.booking for payment in payments], now, confirmed=False)
    return True


def end(connection: Connection, batch_id: str, endings: Iterable[Ending], now: float) -> list[PayoutRecord]:
    """End payments of a batch, with their money, and then the batch and transfers whose payments have all ended.

    Return the payments that this call has ended. Those that had ended before are unchanged.
    """
    bookings.lock(connection, batch_id)
    by_id = {ending.payout_id: ending for ending in endings}
    if not by_id:
        return []
    # An outcome is final: another report about the payment changes nothing.
    open_ones = [payment for payment in of_batch(connection, batch_id) if payment.finished_at is None]
    ended = []
    for payment in open_ones:
        if (ending := by_id.get(payment.payout_id)) is None:
            continue
        event = PayoutEvent.CONFIRM if ending.confirmed else PayoutEvent.FAIL
        values = {
            "reason": ending.reason,
            "reference": ending.reference or payment.reference,
            "finished_at": now,
            "waiting_for": None,
        }
        if move_payments(connection, payouts.c.payout_id == payment.payout_id, event, **values):
            ended.append(payment)
    # One transaction of the ledger for all payments with the same outcome.
    for confirmed in (True, False):
        alike = [payment.booking for payment in ended if by_id[payment.payout_id].confirmed is confirmed]
        if alike:
            bookings.close_payouts(connection, alike, now, confirmed=confirmed)
    transfer_ids = {payment.transfer_id for payment in ended if payment.transfer_id is not None}
    _end_transfers(connection, transfer_ids, now)
    # Read again, since the payments above have changed.
    outcome = outcome_of(PaymentState(payment.state) for payment in of_batch(connection, batch_id))
    if outcome is not None:
        move_batch(connection, batch_id, outcome, finished_at=now, last_error=None)
    return [record for payment in ended if (record := find(connection, payment.payout_id)) is not None]


def _end_transfers(connection: Connection, transfer_ids: Collection[str], now: float) -> None:
    is_open = select(payouts.c.transfer_id).where(
        payouts.c.transfer_id.in_(transfer_ids), payouts.c.finished_at.is_(None)
    )
    change = update(payout_transfers).where(
        # A transfer with several payments is polled until the last of them has ended.
        payout_transfers.c.transfer_id.in_(transfer_ids),
        payout_transfers.c.transfer_id.not_in(is_open),
    )
    connection.execute(change.values(state=TransferState.FINISHED.value, next_call_at=None, finished_at=now))


def by_state(connection: Connection) -> list[tuple[str, int]]:
    """Return the number of payments in each state."""
    rows = connection.execute(select(payouts.c.state, func.count()).group_by(payouts.c.state))
    return [(state, int(count)) for state, count in rows]


def failing(connection: Connection) -> int:
    """Return the number of batches whose payments could not be prepared at the last attempt."""
    query = select(func.count()).where(
        payout_batches.c.finished_at.is_(None), payout_batches.c.last_error.is_not(None)
    )
    return int(connection.execute(query).scalar_one())


def payout_update(payment: PayoutRecord, now: float) -> NewEvent:
    """Return the event about a payment's state."""
    data = {
        "kind": "payment",
        "payout_id": payment.payout_id,
        "batch_id": payment.batch_id,
        "miner_id": payment.miner_id,
        "status": payment.state,
        "amount": format_units(payment.amount),
        "timestamp": format_time(now),
    }
    if payment.reason is not None:
        data["reason"] = payment.reason
    return NewEvent("payout_update", data, NOBODY, payment.miner_id)


def announce(connection: Connection, payments: Sequence[PayoutRecord], now: float) -> None:
    """Publish the state of payments."""
    events.add(connection, [payout_update(payment, now) for payment in payments], now)
