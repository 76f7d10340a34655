"""The metrics of webhooks."""

from __future__ import annotations

from typing import Final

from agent.coordinator.features.webhooks import store
from agent.coordinator.operations.context import Connection, Context
from agent.metrics import Metric, Values

DUE: Final = Metric(
    "aitbc_coordinator_webhooks_due", "gauge", "Webhook messages that are due to be sent.", read=True
)
METRICS: Final = (DUE,)


def read(connection: Connection, _: Context, now: float) -> dict[Metric, Values]:
    """Return the values of all metrics."""
    return {DUE: {(): store.due_count(connection, now)}}
