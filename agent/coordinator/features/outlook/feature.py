"""What machines are likely to earn, from what like machines have earned."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature, Task
from agent.coordinator.features.outlook import outlook, routes
from agent.coordinator.features.outlook.demand import DemandCache, open_cache

FEATURE: Final = Feature(
    name="outlook",
    routers=(routes.router,),
    part=DemandCache,
    open=open_cache,
    tasks=(Task("online_hours", outlook.SAMPLE_SECONDS, outlook.sample),),
)
