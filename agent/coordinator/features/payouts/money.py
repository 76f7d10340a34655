"""Where a miner's earnings are: available for a payout, on hold, on their way, or paid out."""

from __future__ import annotations

from typing import Final

from agent.coordinator.features.payouts.rules import first_held_day, payable
from agent.coordinator.features.payouts.settings import PayoutSettings
from agent.coordinator.features.payouts.store import batches
from agent.coordinator.features.payouts.worker import PayoutWorker
from agent.coordinator.operations.context import Connection, Context

HOUR: Final = 3600.0


def held_since(settings: PayoutSettings, cut_off: float, now: float) -> int | None:
    """Return the first UTC day whose earnings are on hold, or None."""
    return first_held_day(cut_off, settings.hold_hours * HOUR, now)


def miner_money(connection: Connection, context: Context, miner_id: str, balance: int) -> dict[str, int]:
    """Return where what a miner has earned is, in units of 1e-8. `balance` is what was not paid out."""
    now = context.clock()
    since = held_since(context.part(PayoutWorker).settings, now, now)
    available = payable(balance, batches.held(connection, miner_id, since))
    paid_out, pending = batches.totals_of_miner(connection, miner_id)
    # A balance may be negative after a forfeit; then nothing is on hold.
    on_hold = max(0, balance - available)
    return {"available": available, "on_hold": on_hold, "pending": pending, "paid_out": paid_out}
