"""OpenTelemetry in the coordinator. Without its variables, nothing of it runs."""

from __future__ import annotations

from typing import Final

from agent import telemetry
from agent.coordinator.feature import Feature, Task
from agent.coordinator.features.telemetry import exporting, spans
from agent.coordinator.features.telemetry.middleware import ParentSpans
from agent.coordinator.hooks import Hooks

_EXPORT: Final = Task("telemetry", telemetry.METRICS_SECONDS, exporting.export, everywhere=True)

FEATURE: Final = (
    Feature(
        name="telemetry",
        middleware=(ParentSpans,),
        tasks=(_EXPORT,) if telemetry.METRICS_WANTED else (),
        hooks=Hooks(jobs_submitted=spans.jobs_submitted, jobs_changed=spans.jobs_changed),
    )
    if telemetry.WANTED
    else Feature(name="telemetry")
)
"""Traces and OTLP metrics (docs/how-to/operators.md)."""
