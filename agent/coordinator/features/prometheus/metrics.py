"""The metrics of the coordinator that are collected when they are read (docs/reference/metrics.md)."""

from __future__ import annotations

from typing import Final

from agent.metrics import Metric

CONNECTIONS: Final = Metric(
    "aitbc_coordinator_connections", "gauge", "Open connections: with_key after a request with a valid key, otherwise without_key.",
    ("kind",), read=True,
)  # fmt: skip
CONNECTIONS_LIMIT: Final = Metric(
    "aitbc_coordinator_connections_limit", "gauge", "Maximum number of connections, from the settings and the process's limit on open files.",
    read=True,
)  # fmt: skip
JOBS: Final = Metric(
    "aitbc_coordinator_jobs", "gauge", "Jobs by state and service. A running job has a valid lease.", ("service", "state"), read=True
)  # fmt: skip
SUBMITTED: Final = Metric(
    "aitbc_coordinator_jobs_submitted_total", "counter", "Jobs submitted, by service. Not reset by a restart.", ("service",), read=True
)  # fmt: skip
FINISHED: Final = Metric(
    "aitbc_coordinator_jobs_finished_total", "counter",
    "Jobs ended, by service and outcome (completed, failed, cancelled). Not reset by a restart.", ("service", "outcome"), read=True,
)  # fmt: skip
OLDEST_SECONDS: Final = Metric(
    "aitbc_coordinator_queue_oldest_age_seconds", "gauge", "Age of the oldest job that a miner could claim; 0 if there is none.", read=True
)  # fmt: skip
QUEUE: Final = Metric(
    "aitbc_coordinator_queue_jobs", "gauge", "Jobs that a miner could claim now: submitted, with all files uploaded.", read=True
)  # fmt: skip
MINERS: Final = Metric(
    "aitbc_coordinator_miners", "gauge",
    "Miners by state: online (seen recently), paused (online, but accepting no jobs), offline.", ("state",), read=True,
)  # fmt: skip
SUBSCRIBERS: Final = Metric(
    "aitbc_coordinator_feed_subscribers", "gauge", "Open streams: WebSockets, server-sent events and held answers.", read=True
)  # fmt: skip
WRITES_WAITING: Final = Metric(
    "aitbc_coordinator_database_queued_writes", "gauge", "Writes queued for the writer.", read=True
)  # fmt: skip
LEADS: Final = Metric(
    "aitbc_coordinator_leads", "gauge", "1 on the replica that leads: it alone matches jobs with miners. A coordinator without replicas leads.", read=True
)  # fmt: skip
UNWRITABLE: Final = Metric(
    "aitbc_coordinator_database_unwritable", "gauge", "1 while writes fail, e.g. because the disk is full.", read=True
)  # fmt: skip
ARTIFACT_BYTES: Final = Metric(
    "aitbc_coordinator_artifacts_bytes", "gauge", "Bytes of artifacts, large specifications and unfinished uploads, as counted towards accounts' quotas.", read=True
)  # fmt: skip
DISK_FREE_BYTES: Final = Metric(
    "aitbc_coordinator_disk_free_bytes", "gauge", "Free space on the disk of the database and the artifacts.", read=True
)  # fmt: skip
DISK_BYTES: Final = Metric("aitbc_coordinator_disk_size_bytes", "gauge", "Size of that disk.", read=True)

METRICS: Final = (
    CONNECTIONS, CONNECTIONS_LIMIT, JOBS, SUBMITTED, FINISHED, OLDEST_SECONDS, QUEUE, MINERS, SUBSCRIBERS, WRITES_WAITING, LEADS,
    UNWRITABLE, ARTIFACT_BYTES, DISK_FREE_BYTES, DISK_BYTES,
)  # fmt: skip
