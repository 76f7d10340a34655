"""The coordinator's metrics, which are collected when they are read."""

from __future__ import annotations

import shutil
from collections import Counter
from typing import Final

from agent.coordinator.features.prometheus import metrics, store
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.supply import offline_before
from agent.core.jobs import JobState
from agent.metrics import Labels, Metric, Values

FINAL: Final = (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)


async def exposition(context: Context) -> bytes:
    """Return all metrics in Prometheus' text format. Raises `ServiceUnavailable` while the coordinator stops."""
    values = await context.database.read(context.features.read_metrics, context, context.clock())
    return context.monitoring.meter.text({**_of_process(context), **values})


def read(connection: Connection, context: Context, now: float) -> dict[Metric, Values]:
    """Return the values that the database has."""
    totals = store.numbers(connection, offline_before(context))
    submitted: Counter[Labels] = Counter()
    for (service, _), count in totals.jobs.items():
        submitted[service,] += count
    return {
        metrics.JOBS: totals.jobs,
        metrics.SUBMITTED: submitted,
        metrics.FINISHED: {labels: count for labels, count in totals.jobs.items() if labels[1] in FINAL},
        metrics.MINERS: {
            ("online",): totals.online - totals.paused,
            ("paused",): totals.paused,
            ("offline",): totals.miners - totals.online,
        },
        metrics.QUEUE: {(): totals.claimable},
        metrics.OLDEST_SECONDS: {(): 0.0 if totals.oldest is None else max(0.0, now - totals.oldest)},
        metrics.ARTIFACT_BYTES: {(): totals.stored_bytes},
    }


def _of_process(context: Context) -> dict[Metric, Values]:
    """Return the values that the running process has: only the event loop's thread may read them."""
    disk = shutil.disk_usage(context.database.directory)
    return {
        metrics.SUBSCRIBERS: {(): context.feed.hub.subscribers()},
        metrics.CONNECTIONS: {(kind,): count for kind, count in context.connections.counts().items()},
        metrics.CONNECTIONS_LIMIT: {(): context.connections.limit},
        metrics.WRITES_WAITING: {(): context.database.waiting},
        metrics.UNWRITABLE: {(): context.database.fault is not None},
        metrics.LEADS: {(): context.features.cluster.leadership.leads},
        metrics.DISK_FREE_BYTES: {(): disk.free},
        metrics.DISK_BYTES: {(): disk.total},
    }
