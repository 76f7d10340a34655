"""Logs of jobs: lines that their runs wrote for their clients."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature, Task
from agent.coordinator.features.job_logs import logs, routes, store
from agent.coordinator.hooks import Hooks

SECONDS: Final = 60.0
"""Pause between deletions of old logs."""

FEATURE: Final = Feature(
    name="job_logs",
    routers=(routes.router,),
    tasks=(Task("old_logs", SECONDS, logs.delete_old),),
    hooks=Hooks(run_reported=logs.run_reported, data_deleted=store.forget),
)
