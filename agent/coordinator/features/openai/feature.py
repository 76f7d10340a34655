"""OpenAI's API: its requests become jobs."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.openai import routes

FEATURE: Final = Feature(name="openai", routers=(routes.router,))
