"""What machines are likely to earn, from what like machines have earned."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature, Task
from agent.coordinator.features.outlook import outlook, routes

FEATURE: Final = Feature(
    name="outlook",
    routers=(routes.router,),
    tasks=(Task("online_hours", outlook.SAMPLE_SECONDS, outlook.sample),),
)
