"""Speech for the clients of OpenAI's API."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.speech import routes

FEATURE: Final = Feature(name="speech", routers=(routes.router,))
