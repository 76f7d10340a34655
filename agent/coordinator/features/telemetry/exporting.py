"""Sends the coordinator's metrics by OTLP: those that it counts, and those that are read from the database."""

from __future__ import annotations

import asyncio

from agent import telemetry
from agent.coordinator.operations.context import Context


async def export(context: Context) -> None:
    """Send them once."""
    values = await context.database.read(context.features.read_metrics, context, context.clock())
    families = context.monitoring.meter.families(values)
    await asyncio.to_thread(
        telemetry.export_metrics, families, "coordinator", telemetry.BEGAN, context.clock()
    )
