"""Labels: pairs of key and value by which clients group and find their jobs."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.labels import labels, routes, store
from agent.coordinator.hooks import Hooks

FEATURE: Final = Feature(
    name="labels",
    routers=(routes.router,),
    hooks=Hooks(
        check_options=labels.check_options,
        jobs_submitted=labels.jobs_submitted,
        describe_jobs=labels.describe_jobs,
        options_of=labels.describe_jobs,
        narrow=labels.narrow,
        data_deleted=store.forget,
    ),
)
