"""Statistics of the network and of each miner, and the reputations that clients require and see."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature, Task
from agent.coordinator.features.reputation import counting, metrics, routes
from agent.coordinator.hooks import Hooks

FEATURE: Final = Feature(
    name="reputation",
    routers=(routes.router, routes.owners),
    metrics=metrics.METRICS,
    read_metrics=metrics.read,
    # In every replica: a leader of an earlier version would not.
    tasks=(Task("work", 1.0, counting.fold, everywhere=True),),
    hooks=Hooks(jobs_changed=counting.jobs_changed, track_records=counting.track_records),
)
