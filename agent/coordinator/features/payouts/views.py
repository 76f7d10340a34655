"""Answers made from rows: batches, payments, adapters, and where a miner's money is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal

from agent.coordinator.features.payouts.store.batches import BatchRecord, PayoutRecord
from agent.coordinator.features.payouts.store.transfers import TransferRecord
from agent.coordinator.features.payouts.worker import PayoutWorker
from agent.coordinator.operations.context import Context
from agent.core.values.quantities import format_optional_time, format_time, format_units
from aitbc.answers import payouts
from aitbc.answers.payouts import PaymentState


def total(payments: Sequence[PayoutRecord]) -> Decimal:
    """Return the sum of payments in their batch's currency."""
    return sum((Decimal(payment.sent_amount) for payment in payments), Decimal())


def payout(
    payment: PayoutRecord, batch: BatchRecord, names: Mapping[str, str] | None = None
) -> payouts.Payout:
    """Return the answer about a payment."""
    return payouts.Payout(
        payout_id=payment.payout_id,
        batch_id=payment.batch_id,
        miner_id=payment.miner_id,
        miner_name=(names or {}).get(payment.miner_id),
        adapter=batch.adapter,
        address=payment.address,
        currency=batch.currency,
        amount=format_units(payment.amount),
        sent_amount=payment.sent_amount,
        status=PaymentState(payment.state),
        created_at=format_time(payment.created_at),
        finished_at=format_optional_time(payment.finished_at),
        reference=payment.reference,
        reason=payment.reason,
        waiting_for=payment.waiting_for,
    )


def transfer(record: TransferRecord) -> payouts.PayoutTransfer:
    """Return the answer about a transfer."""
    return payouts.PayoutTransfer.model_validate(
        {
            "transfer_id": record.transfer_id,
            "status": record.state,
            "reference": record.reference,
            "nonce": record.nonce,
            "attempts": record.attempts,
            "sent_at": format_optional_time(record.sent_at),
            "next_call_at": format_optional_time(record.next_call_at),
            "error": record.last_error,
        }
    )


def batch_fields(batch: BatchRecord, counts: Mapping[str, int]) -> dict[str, object]:
    """Return the fields of the answer about a batch."""
    return {
        "batch_id": batch.batch_id or None,
        "status": batch.state,
        "adapter": batch.adapter,
        "currency": batch.currency,
        "rate": batch.rate,
        "decimals": batch.decimals,
        "cut_off": format_time(batch.cut_off),
        "minimum": format_units(batch.minimum),
        "count": batch.count,
        "counts": dict(counts),
        "amount": format_units(batch.amount),
        "note": batch.note,
        "created_at": format_time(batch.created_at),
        "created_by": batch.created_by or None,
        "approved_at": format_optional_time(batch.approved_at),
        "approved_by": batch.approved_by,
        "cancelled_by": batch.cancelled_by,
        "finished_at": format_optional_time(batch.finished_at),
        "error": batch.last_error,
    }


def details(
    batch: BatchRecord,
    payments: Sequence[PayoutRecord],
    names: Mapping[str, str],
    transfers: Sequence[TransferRecord] = (),
    omitted: Sequence[payouts.OmittedMiner] = (),
) -> payouts.PayoutBatchDetails:
    """Return the answer about a batch with everything that belongs to it."""
    values = batch_fields(batch, Counter(payment.state for payment in payments))
    return payouts.PayoutBatchDetails.model_validate(
        {
            **values,
            "payouts": [payout(payment, batch, names) for payment in payments],
            "sent_amount": f"{total(payments):f}",
            "manifest": batch.manifest,
            "transfers": [transfer(record) for record in transfers],
            "omitted": list(omitted),
        }
    )


def adapters(context: Context) -> list[payouts.PayoutAdapter]:
    """Return the adapters of the settings, usable or not."""
    installed = context.part(PayoutWorker).adapters
    usable = [
        payouts.PayoutAdapter(adapter=name, currencies=dict(adapter.currencies), by_hand=adapter.by_hand)
        for name, adapter in installed.usable.items()
    ]
    faulty = [
        payouts.PayoutAdapter(adapter=name, currencies={}, by_hand=False, fault=fault)
        for name, fault in installed.faults.items()
    ]
    return usable + faulty
