"""Events about payments, for the owners of their miners."""

from __future__ import annotations

from collections.abc import Sequence

from agent.coordinator.features.payouts.store.batches import PayoutRecord
from agent.coordinator.store import events
from agent.coordinator.store.database import Connection
from agent.coordinator.store.events import NOBODY, NewEvent
from agent.core.values.quantities import format_money, format_time, from_units


def payout_update(payment: PayoutRecord, now: float) -> NewEvent:
    """Return the event about a payment's state."""
    data = {
        "kind": "payment",
        "payout_id": payment.payout_id,
        "batch_id": payment.batch_id,
        "miner_id": payment.miner_id,
        "status": payment.state,
        "amount": format_money(from_units(payment.amount)),
        "timestamp": format_time(now),
    }
    if payment.reason is not None:
        data["reason"] = payment.reason
    return NewEvent("payout_update", data, NOBODY, payment.miner_id)


def announce(connection: Connection, payments: Sequence[PayoutRecord], now: float) -> None:
    """Publish the state of payments."""
    events.add(connection, [payout_update(payment, now) for payment in payments], now)
