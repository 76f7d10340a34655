"""What OpenTelemetry gets, and that nothing of it is loaded unless the variables ask for it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from opentelemetry.sdk.metrics import export
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agent import telemetry
from agent.core.tracing import trace_id_of
from agent.metrics import Meter, Metric
from aitbc._http import client_spans
from support.agents import environment_of_programs

LOADS = """
import sys
from agent.coordinator import hooks, installed
import agent.miner.build, aitbc
feature = next(feature for feature in installed.FEATURES if feature.name == "telemetry")
print(feature.hooks is hooks.NO_HOOKS and not feature.middleware and not feature.tasks, "opentelemetry.sdk" in sys.modules)
"""
ENDPOINT = "http://127.0.0.1:4318"


@pytest.mark.system
def test_without_the_variables_no_hook_runs_and_no_sdk_is_loaded() -> None:
    """Telemetry that is off costs nothing."""
    done = subprocess.run(
        [sys.executable, "-c", LOADS], env=environment_of_programs(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "True False", done.stderr


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        ({"OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT, "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
    ],
)
def test_the_standard_variables_turn_it_on(
    variables: dict[str, str], wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any that names a destination, unless the SDK is disabled."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert client_spans.is_wanted() is wanted


def test_a_span_has_the_recorded_times_and_the_ids_that_follow_from_the_job() -> None:
    """So that another program can name it as a parent."""
    spans = InMemorySpanExporter()
    provider = TracerProvider(id_generator=telemetry._id_generator())
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace_id, parent = trace_id_of("job_1"), telemetry.span_id("job_1", "job")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("opentelemetry.trace.get_tracer", provider.get_tracer)
        for above in (None, parent):
            telemetry.record(
                "coordinator", "run", trace_id=trace_id, own=telemetry.span_id("job_1", "run 1"), parent=above, times=(10.5, 12.25), attributes={"a": 1, "b": None}, error="RUNNER_CRASHED",
            )  # fmt: skip
    for span, above in zip(spans.get_finished_spans(), (None, parent), strict=True):
        assert f"{span.context.trace_id:032x}" == trace_id
        assert span.context.span_id == telemetry.span_id("job_1", "run 1")
        assert (span.parent.span_id if span.parent else None) == above
        assert (span.start_time, span.end_time) == (10_500_000_000, 12_250_000_000)
        assert dict(span.attributes or {}) == {"a": 1}
        assert span.status.description == "RUNNER_CRASHED"


def test_prometheus_metrics_become_those_of_otlp() -> None:
    """Counters are sums, and each bucket of a histogram has its own count."""
    counter = Metric("events_total", "counter", "Events.", ("kind",))
    gauge = Metric("level", "gauge", "A level.", read=True)
    seconds = Metric("run_seconds", "histogram", "Seconds.", ("kind",), (1.0, 5.0))
    meter = Meter((counter, gauge, seconds))
    meter.count(counter, "a", amount=3)
    for value in (0.5, 0.7, 3.0, 9.0):
        meter.observe(seconds, value, "a")
    metrics: dict[str, Any] = {}
    for family in meter.families({gauge: {(): True}}):
        if (metric := telemetry._metric(export, family, 1, 2)) is not None:
            metrics[metric.name] = metric.data
    assert [(dict(point.attributes), point.value) for point in metrics["events"].data_points] == [
        ({"kind": "a"}, 3)
    ]
    assert metrics["events"].is_monotonic
    # OTLP has no booleans.
    assert type(metrics["level"].data_points[0].value) is float
    point = metrics["run_seconds"].data_points[0]
    assert (list(point.bucket_counts), list(point.explicit_bounds)) == ([2, 1, 1], [1.0, 5.0])
    assert (point.count, point.sum) == (4, pytest.approx(13.2))
