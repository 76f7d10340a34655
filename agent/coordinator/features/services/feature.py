"""Calls that create jobs of one service each."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.services import routes

FEATURE: Final = Feature(name="services", routers=(routes.router,))
