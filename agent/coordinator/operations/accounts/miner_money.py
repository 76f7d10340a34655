"""Where a miner's earnings are: available, or where a feature says."""

from __future__ import annotations

from agent.coordinator import hooks
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import ledger
from agent.core.market.ledger import earned
from agent.core.values.quantities import format_units


def where_money_is(connection: Connection, context: Context, miner_id: str) -> dict[str, str]:
    """Return the amounts by name, as in `MinerMoney`."""
    balance = ledger.balance(connection, earned(miner_id))
    amounts = {"available": balance, "on_hold": 0, "pending": 0, "paid_out": 0}
    amounts |= hooks.miner_money(connection, context, miner_id, balance)
    return {name: format_units(units) for name, units in amounts.items()}
