"""The metrics of the versions of a network's miners."""

from __future__ import annotations

from collections import Counter
from typing import Final

from agent import __version__
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import miners
from agent.core.versions import series, standing
from agent.metrics import Labels, Metric, Values

VERSIONS: Final = Metric(
    "aitbc_coordinator_miner_versions", "gauge",
    "Miners by minor version and its state: current, newer, behind, ending (the coordinator's next minor version will refuse it), refused (version \"other\").",
    ("version", "state"), read=True,
)  # fmt: skip
METRICS: Final = (VERSIONS,)


def read(connection: Connection, _context: Context, _now: float) -> dict[Metric, Values]:
    """Return the values of all metrics."""
    counts: Counter[Labels] = Counter()
    for version, number in miners.count_versions(connection).items():
        state = standing(version, __version__)
        # A refused miner states what it wants, so its version must not become a label.
        counts["other" if state == "refused" else series(version), state] += number
    return {VERSIONS: counts}
