"""Traces and metrics for OpenTelemetry, off unless the standard `OTEL_` variables ask for them.

Spans are made afterwards, from the times that coordinator and miner record anyway, so that they agree with what the API shows. Their ids follow from the
job's id: so each program knows the parent of its spans, and no message has to carry one. Attributes are ids, services, outcomes and codes of failures only.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import structlog

from agent import __version__
from aitbc._http import client_spans
from runners.extras import extra_command

if TYPE_CHECKING:  # the packages are an extra
    from opentelemetry.sdk.trace.id_generator import IdGenerator

WANTED: Final = client_spans.is_wanted()
"""Whether the variables ask for it. Nothing of this module costs anything otherwise."""
METRICS_WANTED: Final = WANTED and os.environ.get("OTEL_METRICS_EXPORTER", "otlp").strip() == "otlp"
_NANO: Final = 1_000_000_000


def _metrics_seconds() -> float:
    """Return the seconds between two exports of metrics. As OpenTelemetry's specification demands, a value that cannot be read counts as unset."""
    try:
        return max(1.0, int(os.environ["OTEL_METRIC_EXPORT_INTERVAL"]) / 1000)
    except (KeyError, ValueError):
        return 60.0


METRICS_SECONDS: Final = _metrics_seconds()
_BITS: Final = 64
_chosen: ContextVar[tuple[int, int] | None] = ContextVar("chosen_ids", default=None)
BEGAN: Final = time.time()
_MOST_RUNS: Final = 1000
_ended_runs: OrderedDict[tuple[str, int], tuple[str, float]] = OrderedDict()
"""The trace of each run whose result is not delivered yet, and how far the coordinator's clock is ahead of this machine's."""
_log = structlog.get_logger(__name__)


def configure() -> None:
    """Set up the SDK once, when an agent starts."""
    if not WANTED:
        return
    try:
        ids = _id_generator()
    except ImportError:
        ids = None
    if ids is None or not client_spans.configure("aitbc-agent", id_generator=ids):
        _log.warning(
            "telemetry_unavailable", remedy=f"Install it ({extra_command('otel')}), or unset OTEL_*."
        )


def _id_generator() -> IdGenerator:
    from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator  # noqa: PLC0415 - an extra

    class ChosenIds(IdGenerator):
        """Returns the ids of the span that `record` makes, and random ones to others."""

        def __init__(self) -> None:
            self._random = RandomIdGenerator()

        def generate_span_id(self) -> int:
            chosen = _chosen.get()
            return self._random.generate_span_id() if chosen is None else chosen[1]

        def generate_trace_id(self) -> int:
            chosen = _chosen.get()
            return self._random.generate_trace_id() if chosen is None else chosen[0]

    return ChosenIds()


def span_id(job_id: str, part: str) -> int:
    """Return the id of the span of a part of a job, which is the same in all programs."""
    return int(hashlib.sha256(f"{job_id} {part}".encode()).hexdigest()[: _BITS // 4], 16) or 1


def record(
    scope: str,
    name: str,
    *,
    trace_id: str,
    own: int,
    parent: int | None,
    times: tuple[float, float],
    attributes: Mapping[str, Any],
    error: str | None = None,
) -> None:
    """Make a span of `times`, its start and end in seconds since the epoch. `scope` is the program: coordinator, miner or runner."""
    from opentelemetry import trace  # noqa: PLC0415 - an extra
    from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags  # noqa: PLC0415

    number = int(trace_id, 16)
    above = None
    if parent is not None:
        sampled = TraceFlags(TraceFlags.SAMPLED)
        above = trace.set_span_in_context(
            NonRecordingSpan(SpanContext(number, parent, is_remote=True, trace_flags=sampled))
        )
    token = _chosen.set((number, own))
    try:
        span = trace.get_tracer(f"aitbc.{scope}", __version__).start_span(
            name,
            context=above,
            kind=trace.SpanKind.SERVER if name == "submit" else trace.SpanKind.INTERNAL,
            attributes={key: value for key, value in attributes.items() if value is not None},
            start_time=int(times[0] * _NANO),
        )
    finally:
        _chosen.reset(token)
    if error is not None:
        span.set_status(Status(StatusCode.ERROR, error))
    span.end(int(max(times) * _NANO))


class StageTimes:
    """When the stages of a miner's run began, by the coordinator's clock."""

    def __init__(self) -> None:
        self._stages: list[tuple[str, float]] = []

    def note(self, stage: str, now: float) -> None:
        """Note that a stage has begun."""
        self._stages.append((stage, now))

    def record(
        self, job_id: str, fence: int, trace_id: str, outcome: str, attributes: Mapping[str, Any], now: float
    ) -> None:
        """Make the spans of the miner, which has run the job from its first stage until now, and of its runner."""
        values = {**attributes, "aitbc.job_id": job_id, "aitbc.attempt": fence}
        own = span_id(job_id, f"miner {fence}")
        began = self._stages[0][1] if self._stages else now
        error = None if outcome == "completed" else outcome
        record("miner", "run on the miner", trace_id=trace_id, own=own, parent=span_id(job_id, f"run {fence}"), times=(began, now), attributes={**values, "aitbc.outcome": outcome}, error=error)  # fmt: skip
        ends = [at for _, at in self._stages[1:]] + [now]
        for number, ((stage, at), end) in enumerate(zip(self._stages, ends, strict=True)):
            scope = "runner" if stage in ("loading", "running") else "miner"
            record(scope, stage, trace_id=trace_id, own=span_id(job_id, f"stage {fence} {number}"), parent=own, times=(at, end), attributes=values)  # fmt: skip
        # For the upload of the result, whose entry in the outbox knows neither.
        _ended_runs[job_id, fence] = trace_id, now - time.time()
        while len(_ended_runs) > _MOST_RUNS:
            _ended_runs.popitem(last=False)


def delivered(job_id: str, fence: int, times: tuple[float, float], kind: str) -> None:
    """Make the span of the upload of a result, of these times by this machine's clock."""
    trace_id, ahead = _ended_runs.pop((job_id, fence), (None, 0.0))
    # An earlier process has run the job.
    if trace_id is None:
        return
    values = {"aitbc.job_id": job_id, "aitbc.attempt": fence, "aitbc.kind": kind}
    own, parent = span_id(job_id, f"upload {fence}"), span_id(job_id, f"run {fence}")
    began, ended = times[0] + ahead, times[1] + ahead
    record(
        "miner", "upload", trace_id=trace_id, own=own, parent=parent, times=(began, ended), attributes=values
    )


# Metrics ------------------------------------------------------------------------------------------------------------


async def export_repeatedly(scope: str, read: Callable[[], Iterable[Any]]) -> None:
    """Send the metrics that `read` returns, until cancelled."""
    while True:
        await asyncio.sleep(METRICS_SECONDS)
        try:
            await asyncio.to_thread(export_metrics, list(read()), scope, BEGAN, time.time())
        except Exception:  # noqa: BLE001 - a failed export must not end the program
            _log.exception("metrics_not_exported")


def export_metrics(families: Iterable[Any], scope: str, began: float, now: float) -> None:
    """Send metrics of Prometheus' registry as OTLP. Blocking; errors are logged by the SDK."""
    from opentelemetry.sdk.metrics import export  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415

    # Those of the process are in the registry of each program that runs in it.
    families = [family for family in families if not family.name.startswith("process_")]
    metrics = [
        metric
        for family in families
        if (metric := _metric(export, family, int(began * _NANO), int(now * _NANO)))
    ]
    content = export.ScopeMetrics(InstrumentationScope(f"aitbc.{scope}", __version__), metrics, "")
    data = export.MetricsData([export.ResourceMetrics(Resource.create(), [content], "")])
    _exporter().export(data)


@cache
def _exporter() -> Any:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415 - an extra

    return OTLPMetricExporter()


def _metric(export: Any, family: Any, began: int, now: int) -> Any:
    """Return a family of Prometheus as a metric of OpenTelemetry, None for one without samples."""
    cumulative = export.AggregationTemporality.CUMULATIVE
    if family.type == "histogram":
        points = [
            _histogram_point(export, dict(labels), samples, began, now)
            for labels, samples in _by_labels(family)
        ]
        data = export.Histogram(points, cumulative)
    else:
        points = [
            export.NumberDataPoint(sample.labels, began, now, float(sample.value))
            for sample in family.samples
            if sample.name in {family.name, f"{family.name}_total"}
        ]
        data = (
            export.Sum(points, cumulative, is_monotonic=True)
            if family.type == "counter"
            else export.Gauge(points)
        )
    return export.Metric(family.name, family.documentation, "", data) if points else None


def _by_labels(family: Any) -> Iterable[tuple[tuple[tuple[str, str], ...], list[Any]]]:
    """Return the samples of a histogram, a list for each set of its labels without `le`."""
    groups: dict[tuple[tuple[str, str], ...], list[Any]] = {}
    for sample in family.samples:
        labels = tuple((name, value) for name, value in sample.labels.items() if name != "le")
        groups.setdefault(labels, []).append(sample)
    return groups.items()


def _histogram_point(export: Any, labels: dict[str, str], samples: list[Any], began: int, now: int) -> Any:
    buckets = [
        (float(sample.labels["le"]), sample.value) for sample in samples if sample.name.endswith("_bucket")
    ]
    total = next((sample.value for sample in samples if sample.name.endswith("_sum")), 0.0)
    # Prometheus counts what is at most the bound; here each bucket has its own.
    counts = [
        int(count - before)
        for (_, count), before in zip(buckets, [0.0, *(count for _, count in buckets)], strict=False)
    ]
    bounds = [bound for bound, _ in buckets if bound != float("inf")]
    return export.HistogramDataPoint(
        attributes=labels, start_time_unix_nano=began, time_unix_nano=now, count=sum(counts), sum=total, bucket_counts=counts, explicit_bounds=bounds,
        min=float("inf"), max=float("-inf"),
    )  # fmt: skip
