"""Receipts over HTTP. Who may read one, and whether one is valid; the kernel makes them when it accepts results."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.receipts import routes

FEATURE: Final = Feature(name="receipts", routers=(routes.router,))
