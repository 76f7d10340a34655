"""The metrics of what miners have earned."""

from __future__ import annotations

from typing import Final

from agent.coordinator.features.reputation.store import miner_stats
from agent.coordinator.operations.context import Connection, Context
from agent.core.values.quantities import from_units
from agent.metrics import Metric, Values

PAID: Final = Metric(
    "aitbc_coordinator_settled_credits_total", "counter", "Money that clients have paid for jobs, fees included.", read=True
)  # fmt: skip
EARNED: Final = Metric(
    "aitbc_coordinator_earned_credits_total", "counter", "Money that miners have earned of it, without fees.", read=True
)  # fmt: skip
METRICS: Final = (PAID, EARNED)


def read(connection: Connection, _context: Context, _now: float) -> dict[Metric, Values]:
    """Return the values of all metrics."""
    totals = miner_stats.totals(connection)
    return {PAID: {(): float(from_units(totals.paid))}, EARNED: {(): float(from_units(totals.earned))}}
