"""Statements of a month for bookkeeping."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.statements import routes

FEATURE: Final = Feature(name="statements", routers=(routes.router,))
