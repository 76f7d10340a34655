"""Charts over time: jobs, money, the queue and miners."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature, Task
from agent.coordinator.features.history import routes, series
from agent.coordinator.hooks import Hooks

SECONDS: Final = 60.0
"""Pause between samples, and between deletions of old figures."""

FEATURE: Final = Feature(
    name="history",
    routers=(routes.router,),
    tasks=(Task("history", SECONDS, series.sample), Task("old_figures", SECONDS, series.delete_old)),
    hooks=Hooks(
        jobs_submitted=series.jobs_submitted,
        jobs_changed=series.jobs_changed,
        money_booked=series.money_booked,
    ),
)
