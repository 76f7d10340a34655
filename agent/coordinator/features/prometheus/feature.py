"""The coordinator's metrics for Prometheus."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.prometheus import exposition, metrics, routes

FEATURE: Final = Feature(
    name="prometheus", pages=routes.pages, metrics=metrics.METRICS, read_metrics=exposition.read
)
