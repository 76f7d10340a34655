"""Rate limits: how many calls a key or an address may make in a time."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.rate_limits.metrics import METRICS
from agent.coordinator.features.rate_limits.middleware import RateLimits

FEATURE: Final = Feature(
    name="rate_limits",
    middleware=(RateLimits,),
    exposed_headers=("RateLimit", "RateLimit-Policy"),
    metrics=METRICS,
)
