"""Audits: finished jobs that another miner checks, and jobs with known answers."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature, Task
from agent.coordinator.features.audits import (
    caches,
    choosing,
    consistency,
    deletion,
    metrics,
    rounds,
    routes,
    views,
)
from agent.coordinator.features.audits.store import audits as store
from agent.coordinator.hooks import Hooks

SECONDS: Final = 1.0
"""Pause between two rounds."""

FEATURE: Final = Feature(
    name="audits",
    routers=(routes.router,),
    metrics=metrics.METRICS,
    tasks=(Task("audits", SECONDS, rounds.advance),),
    hooks=Hooks(
        caches_of=caches.caches_of,
        results_accepted=choosing.results_accepted,
        describe_job=views.describe_job,
        deletion_requested=deletion.deletion_requested,
        data_deleted=store.erase_words,
        jobs_retained=deletion.jobs_retained,
        examine=consistency.examine,
        read_gauges=metrics.read,
    ),
)
