"""The coordinator's metrics, which are collected when they are read."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from typing import Final

from agent.coordinator import metrics
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.supply import offline_before
from agent.coordinator.store.metrics import Numbers, numbers
from agent.core.jobs import JobState
from agent.metrics import Labels, Metric, Values

FINAL: Final = (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)


async def exposition(context: Context) -> bytes:
    """Return all metrics in Prometheus' text format. Raises `ServiceUnavailable` while the coordinator stops."""
    now = context.clock()
    totals = await context.database.read(numbers, offline_before(context))
    disk = shutil.disk_usage(context.database.directory)
    plain = {
        metrics.QUEUE: totals.claimable,
        metrics.OLDEST_SECONDS: 0.0 if totals.oldest is None else max(0.0, now - totals.oldest),
        metrics.SUBSCRIBERS: context.feed.hub.subscribers(),
        metrics.CONNECTIONS_LIMIT: context.connections.limit,
        metrics.WRITES_WAITING: context.database.waiting,
        metrics.UNWRITABLE: context.database.fault is not None,
        metrics.LEADS: context.features.cluster.leadership.leads,
        metrics.ARTIFACT_BYTES: totals.stored_bytes,
        metrics.DISK_FREE_BYTES: disk.free,
        metrics.DISK_BYTES: disk.total,
    }
    connections: dict[Labels, int] = {(kind,): count for kind, count in context.connections.counts().items()}
    of_features = await context.database.read(context.features.read_metrics, context, now)
    labelled = {**_jobs(totals), **of_features, metrics.CONNECTIONS: connections}
    return context.monitoring.meter.text({**labelled, **{name: {(): value} for name, value in plain.items()}})


def _jobs(totals: Numbers) -> Mapping[Metric, Values]:
    submitted: Counter[Labels] = Counter()
    for (service, _), count in totals.jobs.items():
        submitted[service,] += count
    finished: dict[Labels, int] = {
        labels: count for labels, count in totals.jobs.items() if labels[1] in FINAL
    }
    states: dict[Labels, int] = {
        ("online",): totals.online - totals.paused,
        ("paused",): totals.paused,
        ("offline",): totals.miners - totals.online,
    }
    return {
        metrics.JOBS: totals.jobs,
        metrics.SUBMITTED: submitted,
        metrics.FINISHED: finished,
        metrics.MINERS: states,
    }
