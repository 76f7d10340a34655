"""Running a job again, with the same input or with changes."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.reruns import routes

FEATURE: Final = Feature(name="reruns", routers=(routes.router,))
