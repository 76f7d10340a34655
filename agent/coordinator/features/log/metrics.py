"""The metrics of the log."""

from __future__ import annotations

from typing import Final

from agent.coordinator.features.log import store
from agent.coordinator.features.log.sequencer import Sequencer
from agent.coordinator.operations.context import Connection, Context
from agent.metrics import Metric, Values

LEAVES: Final = Metric(
    "aitbc_coordinator_log_leaves", "gauge", "Number of leaves in the log's newest checkpoint.", read=True
)  # fmt: skip
UNSEQUENCED: Final = Metric(
    "aitbc_coordinator_log_unsequenced_leaves", "gauge", "Receipts and settlements that are not in the log yet.", read=True
)  # fmt: skip
STOPPED: Final = Metric(
    "aitbc_coordinator_log_stopped", "gauge", "1 while the log cannot be extended; health and the coordinator's log state why.", read=True
)  # fmt: skip
METRICS: Final = (LEAVES, UNSEQUENCED, STOPPED)


def read(connection: Connection, context: Context, _now: float) -> dict[Metric, Values]:
    """Return the values of all metrics."""
    newest = store.newest_checkpoint(connection)
    return {
        LEAVES: {(): newest.size if newest else 0},
        UNSEQUENCED: {(): store.count_queued(connection)},
        STOPPED: {(): context.part(Sequencer).fault is not None},
    }
