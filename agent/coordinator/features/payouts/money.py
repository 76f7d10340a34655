"""Where a miner's earnings are: available for a payout, on hold, on their way, or paid out."""

from __future__ import annotations

from typing import Final

from agent.coordinator.features.payouts.rules import first_held_day, payable
from agent.coordinator.features.payouts.store import batches as store
from agent.coordinator.features.payouts.worker import PayoutWorker
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import ledger
from agent.core.market.ledger import earned
from agent.core.values.quantities import format_money, from_units

HOUR: Final = 3600.0


def held_since(context: Context, cut_off: float, now: float) -> int | None:
    """Return the first UTC day whose earnings are on hold, or None."""
    return first_held_day(cut_off, context.part(PayoutWorker).settings.hold_hours * HOUR, now)


def where_money_is(connection: Connection, context: Context, miner_id: str) -> dict[str, str]:
    """Return the amounts by name, as in `MinerMoney`."""
    now = context.clock()
    balance = ledger.balance(connection, earned(miner_id))
    available = payable(balance, store.held(connection, miner_id, held_since(context, now, now)))
    paid_out, pending = store.totals_of_miner(connection, miner_id)
    amounts = {
        "available": available,
        "on_hold": max(0, balance - available),
        "pending": pending,
        "paid_out": paid_out,
    }
    return {name: format_money(from_units(units)) for name, units in amounts.items()}
