"""Consistency of batches of payouts, their payments, transfers and money, for `fsck` and tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import Connection, func, or_, select

from agent.coordinator.features.log.tables import log_leaves, log_queue
from agent.coordinator.features.payouts.rules import BatchState, TransferState, outcome_of, payout
from agent.coordinator.features.payouts.store.batches import BatchRecord, PayoutRecord, all_batches, of_batch
from agent.coordinator.features.payouts.tables import payout_batches, payout_transfers
from agent.coordinator.store import ledger
from aitbc.answers.payouts import PaymentState


def manifests(connection: Connection) -> list[tuple[BatchRecord, str | None]]:
    """Return the approved batches, each with its numbered or queued leaf of the log, or None."""
    leaf = func.coalesce(log_leaves.c.content, log_queue.c.content)
    query = (
        select(payout_batches.c.batch_id, leaf)
        .outerjoin(log_leaves, log_leaves.c.reference == payout_batches.c.batch_id)
        .outerjoin(log_queue, log_queue.c.reference == payout_batches.c.batch_id)
        .where(payout_batches.c.approved_at.is_not(None))
    )
    manifest_by_batch = {row[0]: row[1] for row in connection.execute(query)}
    return [
        (batch, manifest_by_batch[batch.batch_id])
        for batch in all_batches(connection)
        if batch.batch_id in manifest_by_batch
    ]


def unknown_leaves(connection: Connection) -> list[str]:
    """Return the references of manifests in the log whose batch does not exist or is not approved."""
    query = (
        select(log_leaves.c.reference)
        .outerjoin(payout_batches, payout_batches.c.batch_id == log_leaves.c.reference)
        .where(
            log_leaves.c.reference.startswith("batch_", autoescape=True),
            payout_batches.c.approved_at.is_(None),
        )
    )
    return list(connection.scalars(query.order_by(log_leaves.c.leaf_index)))


def problems(connection: Connection) -> list[str]:
    """Return inconsistencies between batches, payments, transfers and the ledger. Reads everything; for `fsck` and tests."""
    messages = []
    for batch in all_batches(connection):
        payments = of_batch(connection, batch.batch_id)
        examined = _unknown_states(batch, payments) or _batch_problems(connection, batch, payments)
        messages += [f"{batch.batch_id}: {problem}" for problem in examined]
    unfinished = select(payout_transfers.c.transfer_id).where(
        or_(
            payout_transfers.c.next_call_at.is_(None)
            & (payout_transfers.c.state != TransferState.FINISHED.value),
            payout_transfers.c.next_call_at.is_not(None)
            & (payout_transfers.c.state == TransferState.FINISHED.value),
        )
    )
    messages += [
        f"{transfer_id}: its state and its next call do not match"
        for transfer_id in connection.scalars(unfinished)
    ]
    return messages


_ALLOWED: Final = {
    BatchState.CREATED: {PaymentState.CREATED},
    BatchState.APPROVED: {PaymentState.APPROVED, PaymentState.FAILED},
    BatchState.SENDING: set(PaymentState) - {PaymentState.CREATED, PaymentState.CANCELLED},
    BatchState.CONFIRMED: {PaymentState.CONFIRMED},
    BatchState.FAILED: {PaymentState.CONFIRMED, PaymentState.FAILED},
    BatchState.CANCELLED: {PaymentState.CANCELLED, PaymentState.FAILED},
}
"""The states that the payments of a batch can have."""
_STATUS: Final = {
    PaymentState.CONFIRMED: ledger.Status.SETTLED,
    PaymentState.FAILED: ledger.Status.REFUNDED,
    PaymentState.CANCELLED: ledger.Status.REFUNDED,
}


def _unknown_states(batch: BatchRecord, payments: Sequence[PayoutRecord]) -> list[str]:
    unknown = {batch.state} - set(BatchState) | {payment.state for payment in payments} - set(PaymentState)
    return [f"there is no state {state!r}, which it or a payment has" for state in sorted(unknown)]


def _batch_problems(
    connection: Connection, batch: BatchRecord, payments: Sequence[PayoutRecord]
) -> Iterable[str]:
    state = BatchState(batch.state)
    if (len(payments), sum(payment.amount for payment in payments)) != (batch.count, batch.amount):
        yield "its payments have another number or sum"
    if [payment.position for payment in payments] != list(range(len(payments))):
        yield "the positions of its payments have a gap"
    if state.final != (batch.finished_at is not None):
        yield f"it is {state}, but its end says otherwise"
    if (outcome_of(PaymentState(row.state) for row in payments) is not None) != state.final:
        yield f"it is {state}, but its payments say otherwise"
    waiting = sum(payment.amount for payment in payments if not PaymentState(payment.state).final)
    reserved = ledger.balance(connection, payout(batch.batch_id))
    if reserved != waiting:
        yield f"{reserved} units are reserved, but its payments that have not ended add up to {waiting}"
    for payment in payments:
        of_payment = PaymentState(payment.state)
        if of_payment not in _ALLOWED[state]:
            yield f"{payment.payout_id} is {of_payment}, which a batch that is {state} cannot have"
        transaction = ledger.find(connection, payment.tx_id)
        status = _STATUS.get(of_payment, ledger.Status.PENDING)
        if transaction is None or (transaction.status, transaction.held) != (status, payment.amount):
            yield f"{payment.payout_id} is {of_payment}, but the ledger says otherwise"
        is_moving = of_payment in {PaymentState.PREPARED, PaymentState.SENT, PaymentState.CONFIRMED}
        if is_moving and payment.transfer_id is None and payment.reference is None:
            yield f"{payment.payout_id} is {of_payment} without a transfer"
