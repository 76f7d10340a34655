"""The API describes itself in an OpenAPI document."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.reference.routes.openapi import router

FEATURE: Final = Feature(name="reference", routers=(router,))
