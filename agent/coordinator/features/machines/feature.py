"""Machines, for their owners and the operator: what they are and do, what they earn, and their settings."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.machines import commands, metrics, routes
from agent.coordinator.hooks import Hooks

FEATURE: Final = Feature(
    name="machines",
    routers=(routes.router, routes.operators),
    part=commands.AwaitedModels,
    open=lambda _: commands.AwaitedModels(),
    metrics=metrics.METRICS,
    read_metrics=metrics.read,
    hooks=Hooks(miner_reported=commands.miner_reported),
)
