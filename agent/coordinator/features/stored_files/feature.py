"""Lists of the files that an account stores, and which of its jobs use them."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.stored_files import routes

FEATURE: Final = Feature(name="stored_files", routers=(routes.router,))
