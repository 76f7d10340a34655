"""Audits: finished jobs that another miner checks, and jobs with known answers."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature, Task
from agent.coordinator.features.audits import (
    advancing,
    choosing,
    consistency,
    deletion,
    metrics,
    options,
    routes,
    views,
)
from agent.coordinator.features.audits.store import audits
from agent.coordinator.hooks import Hooks

SECONDS: Final = 1.0
"""Pause between two rounds."""

FEATURE: Final = Feature(
    name="audits",
    # Whether an audit can prove anything is checked of requests in which the others found nothing wrong.
    after=("labels", "offers", "sealing", "webhooks"),
    routers=(routes.router,),
    metrics=metrics.METRICS,
    read_metrics=metrics.read,
    examine=consistency.examine,
    tasks=(Task("audits", SECONDS, advancing.advance),),
    hooks=Hooks(
        check_request=options.check_request,
        describe_jobs=views.describe_jobs,
        describe_service=options.describe_service,
        results_accepted=choosing.results_accepted,
        retain=deletion.retain,
        data_deleted=audits.erase_words,
    ),
)
