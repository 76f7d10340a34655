"""What clients can have: the registry of services and their current supply."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.market.routes import market, registry

FEATURE: Final = Feature(name="market", routers=(registry.router, market.router))
