"""Reranking in the forms of other products."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.reranking import routes

FEATURE: Final = Feature(name="reranking", routers=(routes.router,))
