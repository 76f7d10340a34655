"""The trail of what administrators have done."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.trail import routes
from agent.coordinator.features.trail.middleware import Trail

FEATURE: Final = Feature(name="trail", routers=(routes.router,), middleware=(Trail,))
