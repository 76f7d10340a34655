"""The metrics of payouts."""

from __future__ import annotations

from typing import Final

from agent.coordinator.features.payouts.store import batches, transfers
from agent.coordinator.operations.context import Connection, Context
from agent.metrics import Metric, Values

PAYOUTS: Final = Metric(
    "aitbc_coordinator_payouts", "gauge", "Payments of batches, by state. Prepared and sent ones are on their way.", ("state",), read=True
)  # fmt: skip
CALLS_FAILING: Final = Metric(
    "aitbc_coordinator_payout_calls_failing", "gauge", "Transfers of payments whose last adapter call failed, and batches whose payments could not be prepared.", read=True
)  # fmt: skip
METRICS: Final = (PAYOUTS, CALLS_FAILING)


def read(connection: Connection, _context: Context, _now: float) -> dict[Metric, Values]:
    """Return the values of all metrics."""
    failing = transfers.failing(connection) + batches.failing(connection)
    return {
        PAYOUTS: {(state,): count for state, count in batches.by_state(connection)},
        CALLS_FAILING: {(): failing},
    }
