"""Deletion of the data of jobs, which their clients request or which follows from its age, and of old events."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature, Task
from agent.coordinator.features.retention import retention, routes

SECONDS: Final = 60.0
"""Pause between two rounds of deletion."""

FEATURE: Final = Feature(
    name="retention",
    routers=(routes.router,),
    tasks=(
        Task("old_jobs", SECONDS, retention.delete_jobs),
        Task("old_events", SECONDS, retention.delete_events),
    ),
)
