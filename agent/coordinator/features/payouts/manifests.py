"""The manifest of a batch and the leaves of its payments, made from rows, so that `fsck` can make them again."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from agent.coordinator.features.payouts.store.batches import BatchRecord, PayoutRecord
from agent.core.values.quantities import format_time, from_units
from aitbc.leaves.payouts import Manifest, Payment, PaymentTree


def payment_of(batch: BatchRecord, payment: PayoutRecord) -> Payment:
    """Return a payment as in the tree of its batch."""
    return Payment(
        batch_id=batch.batch_id,
        payout_id=payment.payout_id,
        miner_id=payment.miner_id,
        adapter=batch.adapter,
        address=payment.address,
        currency=batch.currency,
        amount=from_units(payment.amount),
        sent_amount=Decimal(payment.sent_amount),
        salt=payment.salt,
    )


def tree_of(batch: BatchRecord, payments: Sequence[PayoutRecord]) -> PaymentTree:
    """Return the tree of a batch's payments."""
    return PaymentTree([payment_of(batch, payment).to_leaf() for payment in payments])


def manifest_of(batch: BatchRecord, payments: Sequence[PayoutRecord], origin: str) -> Manifest:
    """Return the manifest of an approved batch with these payments, all of them. Raises `FormatError` if a row was changed."""
    return Manifest(
        batch_id=batch.batch_id,
        origin=origin,
        created_at=format_time(batch.created_at),
        approved_at=format_time(batch.approved_at or 0.0),
        cut_off=format_time(batch.cut_off),
        adapter=batch.adapter,
        currency=batch.currency,
        decimals=batch.decimals,
        rate=Decimal(batch.rate),
        count=len(payments),
        amount=sum((from_units(payment.amount) for payment in payments), Decimal()),
        sent_amount=sum((Decimal(payment.sent_amount) for payment in payments), Decimal()),
        root=tree_of(batch, payments).root,
    )
