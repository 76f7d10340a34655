"""The metrics of the coordinator and the miner in Prometheus' format.

A metric is declared once, with its meaning; dashboards, alerts and docs/reference/metrics.md are checked against the declarations. Each
program has a registry of its own, because an agent on one machine is both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client import (
    Metric as Family,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST

MEDIA_TYPE: Final = CONTENT_TYPE_LATEST
# The start of a counter equals the start of the process, so a second series for each counter would only cost space.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library gives it no types

Labels: TypeAlias = tuple[str, ...]
Values: TypeAlias = Mapping[Labels, float]
"""Values by their label values; the key of a metric without labels is ()."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. Its name follows Prometheus' conventions: unit last, `_total` for counters.

    A metric with `read` is read on request; the others are updated while the program runs.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: Labels = ()
    buckets: tuple[float, ...] = ()
    read: bool = False


class Meter:
    """Updates the metrics of one program. Thread-safe; a call takes about a microsecond."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = {metric.name: metric for metric in metrics}
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        self._families = {metric.name: self._family(metric) for metric in metrics if not metric.read}
        self._children: dict[tuple[str, Labels], Counter | Histogram] = {}

    def count(self, metric: Metric, *labels: str, amount: float = 1) -> None:
        """Add to a counter."""
        self._child(metric.name, labels).inc(amount)

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """Record a value in a histogram."""
        self._child(metric.name, labels).observe(value)

    def text(self, read: Mapping[Metric, Values]) -> bytes:
        """Return all metrics in Prometheus' text format; `read` has the values of those that are read on request."""
        return generate_latest(_Families(self.families(read)))

    def families(self, read: Mapping[Metric, Values]) -> list[Family]:
        """Return all metrics like `text`, as the library's objects."""
        read_families = [_read_family(metric, values) for metric, values in read.items()]
        return [*self._registry.collect(), *read_families]

    def _family(self, metric: Metric) -> Counter | Histogram:
        if metric.kind == "histogram":
            return Histogram(
                metric.name,
                metric.meaning,
                metric.labels,
                buckets=metric.buckets,
                registry=self._registry,
            )
        return Counter(metric.name, metric.meaning, metric.labels, registry=self._registry)

    def _child(self, name: str, labels: Labels) -> Any:
        child = self._children.get((name, labels))
        if child is None:
            family = self._families[name]
            child = self._children[name, labels] = family.labels(*labels) if labels else family
        return child


def _read_family(metric: Metric, values: Values) -> Family:
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.meaning, labels=metric.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


class _Families(CollectorRegistry):
    """Passes collected metrics to the library's text writer."""

    def __init__(self, families: Iterable[Family]) -> None:
        super().__init__()
        self._collected = tuple(families)

    def collect(self) -> Iterable[Family]:
        """Return the collected metrics."""
        return self._collected
