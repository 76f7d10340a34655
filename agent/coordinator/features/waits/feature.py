"""Why jobs wait: the reasons for clients and for the owners of miners, and notices to clients whose jobs wait for long."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature, Task
from agent.coordinator.features.waits import clients, notices, routes
from agent.coordinator.hooks import Hooks

FEATURE: Final = Feature(
    name="waits",
    routers=(routes.router,),
    tasks=(Task("waits", notices.SECONDS, notices.notify),),
    hooks=Hooks(job_refused=clients.job_refused),
)
