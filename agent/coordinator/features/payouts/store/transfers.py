"""Transfers: the bytes that pay payments of a batch, which are stored before they are sent, and the calls of adapters for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from agent.coordinator.features.payouts.rules import BatchState, PayoutEvent, TransferState
from agent.coordinator.features.payouts.store import bookings
from agent.coordinator.features.payouts.store.batches import (
    Ending,
    PayoutRecord,
    end,
    find_batch,
    move_batch,
    move_payments,
)
from agent.coordinator.features.payouts.tables import payout_batches, payout_transfers, payouts
from agent.coordinator.store import records
from aitbc.answers.payouts import PaymentState


class Outdated(Exception):
    """What an adapter has prepared comes too late: the batch was cancelled, or another process was first. It must be dropped."""


@dataclass(frozen=True, slots=True)
class TransferRecord:
    """What is sent in one go. `attempts` counts calls of `send`, `failures` failed calls in a row; `adapter_state` is JSON."""

    transfer_id: str
    batch_id: str
    adapter: str
    source: str
    nonce: int | None
    state: str
    content: bytes
    reference: str
    adapter_state: str
    attempts: int
    failures: int
    next_call_at: float | None
    last_error: str | None
    created_at: float
    sent_at: float | None = None
    finished_at: float | None = None


_TRANSFER: Final = records.columns(payout_transfers, TransferRecord)


def of_batch(connection: Connection, batch_id: str) -> list[TransferRecord]:
    """Return the transfers of a batch, oldest first."""
    query = select(*_TRANSFER).where(payout_transfers.c.batch_id == batch_id)
    return records.find_all(connection, TransferRecord, query.order_by(payout_transfers.c.transfer_id))


def highest_nonces(connection: Connection, adapter: str) -> dict[str, int]:
    """Return the highest nonce of each source of an adapter."""
    query = select(payout_transfers.c.source, func.max(payout_transfers.c.nonce)).where(
        payout_transfers.c.adapter == adapter, payout_transfers.c.nonce.is_not(None)
    )
    rows = connection.execute(query.group_by(payout_transfers.c.source))
    return {source: int(nonce) for source, nonce in rows}


def add_transfers(
    connection: Connection,
    batch_id: str,
    transfers: Sequence[tuple[TransferRecord, Sequence[str]]],
    waiting: Mapping[str, str],
) -> None:
    """Store transfers with the ids of the payments that each one pays, and what other payments wait for.

    Raises `Outdated` if a payment was prepared, or a nonce was used, by another process, or if the batch was cancelled.
    """
    bookings.lock(connection, batch_id)
    # What payments wait for is shown to their miners, also if nothing else could be prepared.
    for payout_id, missing in waiting.items():
        _move_waiting(connection, batch_id, payout_id, missing)
    if not transfers:
        return
    batch = find_batch(connection, batch_id)
    if batch is None or not (
        # The first transfer of a batch ends the time in which it can be cancelled.
        batch.state == BatchState.SENDING or move_batch(connection, batch_id, PayoutEvent.PREPARE)
    ):
        raise Outdated
    # Batches of one adapter share its sending accounts, so two of them must not use up the same nonce.
    bookings.lock(connection, f"nonces of {batch.adapter}")
    highest = highest_nonces(connection, batch.adapter)
    for transfer, payout_ids in transfers:
        if transfer.nonce is not None and transfer.nonce <= highest.get(transfer.source, -1):
            raise Outdated
        connection.execute(insert(payout_transfers), records.values(transfer))
        mine = (payouts.c.batch_id == batch_id) & payouts.c.payout_id.in_(payout_ids)
        values = {"transfer_id": transfer.transfer_id, "waiting_for": None}
        # A payment that was prepared by another process would be sent twice: everything of this call is dropped.
        if move_payments(connection, mine, PayoutEvent.PREPARE, **values) != len(payout_ids):
            raise Outdated


def _move_waiting(connection: Connection, batch_id: str, payout_id: str, missing: str) -> None:
    mine = (payouts.c.batch_id == batch_id) & (payouts.c.payout_id == payout_id)
    connection.execute(
        update(payouts)
        # The payment may have ended since the adapter was asked.
        .where(mine, payouts.c.state == PaymentState.APPROVED.value)
        .values(waiting_for=missing)
    )


def hand_in(connection: Connection, payment: PayoutRecord, content: str) -> bool:
    """Store what a miner hands in for a payment (JSON). Return False, changing nothing, if the payment is prepared already."""
    bookings.lock(connection, payment.batch_id)
    change = (
        update(payouts)
        .where(
            payouts.c.payout_id == payment.payout_id,
            # A prepared payment has fixed bytes, which no longer depend on what the miner hands in.
            payouts.c.state.in_([PaymentState.CREATED.value, PaymentState.APPROVED.value]),
        )
        .values(handed_in=content, waiting_for=None)
    )
    return connection.execute(change).rowcount == 1


def note_error(connection: Connection, batch_id: str, error: str | None) -> None:
    """Store why the payments of a batch could not be prepared, or None."""
    connection.execute(
        update(payout_batches).where(payout_batches.c.batch_id == batch_id).values(last_error=error)
    )


def resume(connection: Connection, adapter: str, now: float) -> None:
    """Have all calls for an adapter's transfers made now: the process that was about to make them may have died.

    If it has not, its claims no longer hold.
    """
    change = update(payout_transfers).where(
        payout_transfers.c.adapter == adapter, payout_transfers.c.next_call_at.is_not(None)
    )
    connection.execute(change.values(next_call_at=now))


def due(connection: Connection, adapter: str, now: float, limit: int) -> list[TransferRecord]:
    """Return the transfers of an adapter for which a call is due, the longest due first."""
    query = select(*_TRANSFER).where(
        payout_transfers.c.next_call_at <= now, payout_transfers.c.adapter == adapter
    )
    ordered = query.order_by(payout_transfers.c.next_call_at, payout_transfers.c.transfer_id)
    return records.find_all(connection, TransferRecord, ordered.limit(limit))


def next_due(connection: Connection, adapter: str) -> float | None:
    """Return when the next call for a transfer of an adapter is due, None if there is none."""
    query = select(func.min(payout_transfers.c.next_call_at)).where(payout_transfers.c.adapter == adapter)
    due_at: float | None = connection.execute(query).scalar_one()
    return due_at


def claim(connection: Connection, transfer: TransferRecord, until: float) -> TransferRecord | None:
    """Count an attempt, and have the next call made at `until` should this process die. Return None if another process did."""
    # Only calls of `send` are attempts; a transfer may be polled for days.
    attempts = transfer.attempts + (transfer.state == TransferState.PREPARED)
    change = (
        update(payout_transfers)
        .where(
            payout_transfers.c.transfer_id == transfer.transfer_id,
            # The time of the call serves as the claim: the process that changes it first makes the call.
            payout_transfers.c.next_call_at == transfer.next_call_at,
        )
        .values(attempts=attempts, next_call_at=until)
    )
    if connection.execute(change).rowcount != 1:
        return None
    return replace(transfer, attempts=attempts, next_call_at=until)


def _claimed(transfer: TransferRecord) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Return the condition that no other process has claimed the transfer since `claim` returned this record."""
    return (
        payout_transfers.c.transfer_id == transfer.transfer_id,
        payout_transfers.c.next_call_at == transfer.next_call_at,
    )


def record_failure(connection: Connection, transfer: TransferRecord, error: str, next_call_at: float) -> None:
    """Store that a call failed: its outcome is unknown. Nothing changes if the claim is no longer this one."""
    change = update(payout_transfers).where(*_claimed(transfer))
    values = {"failures": transfer.failures + 1, "last_error": error, "next_call_at": next_call_at}
    connection.execute(change.values(values))


def record_call(
    connection: Connection,
    transfer: TransferRecord,
    endings: Sequence[Ending],
    references: Mapping[str, str],
    now: float,
    *,
    next_call_at: float,
    resend: bool,
) -> list[PayoutRecord]:
    """Store the answer of a call: the transfer's new bytes and state, and how payments ended. Return the ended payments.

    `transfer` has the new values. `references` are those of payments that have not ended. With `resend`, the transfer is sent next.
    Nothing changes if the claim is no longer this one: another process makes the call again, and may have replaced the bytes.
    """
    bookings.lock(connection, transfer.batch_id)
    values = {
        "content": transfer.content,
        "reference": transfer.reference,
        "adapter_state": transfer.adapter_state,
        # A call that was answered ends the series of failures, and so the growing pauses.
        "failures": 0,
        "last_error": None,
        "next_call_at": next_call_at,
        "state": (TransferState.PREPARED if resend else TransferState.SENT).value,
    }
    if not resend:
        values["sent_at"] = now if transfer.sent_at is None else transfer.sent_at
    change = update(payout_transfers).where(*_claimed(transfer))
    if connection.execute(change.values(values)).rowcount != 1:
        return []
    # With new bytes, the payments are still to be sent; what was sent before is replaced.
    if not resend:
        move_payments(connection, payouts.c.transfer_id == transfer.transfer_id, PayoutEvent.SEND)
    for payout_id, reference in references.items():
        change = update(payouts).where(
            payouts.c.payout_id == payout_id, payouts.c.transfer_id == transfer.transfer_id
        )
        connection.execute(change.where(payouts.c.finished_at.is_(None)).values(reference=reference))
    return end(connection, transfer.batch_id, endings, now)


def failing(connection: Connection) -> int:
    """Return the number of transfers whose last call failed."""
    query = select(func.count()).where(
        payout_transfers.c.next_call_at.is_not(None), payout_transfers.c.failures > 0
    )
    return int(connection.execute(query).scalar_one())
