"""Exclusion and removal of miners by operators."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.exclusion import routes

FEATURE: Final = Feature(name="exclusion", routers=(routes.router,))
