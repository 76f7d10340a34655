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
        check_request=labels.check_request,
        jobs_submitted=labels.jobs_submitted,
        describe_jobs=labels.describe_jobs,
        filter_jobs=labels.filter_jobs,
        data_deleted=store.forget,
    ),
)
