"""The coordinator's metrics (docs/reference/metrics.md). Labels have few values: no ids, no names that clients choose."""

from __future__ import annotations

from typing import Final

from agent.metrics import Metric

_QUICK: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)
"""Buckets in seconds, from a cached answer to a long poll."""
_PATIENT: Final = (0.005, 0.05, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0)
"""Buckets in seconds, from a job that is claimed immediately to a rendering overnight."""

REQUESTS: Final = Metric(
    "aitbc_coordinator_http_requests_total", "counter", "Answered requests, by route template, method and status.",
    ("route", "method", "status"),
)  # fmt: skip
REQUEST_SECONDS: Final = Metric(
    "aitbc_coordinator_http_request_duration_seconds", "histogram",
    "Time from a request to the first byte of its answer. Long polls, `Prefer: wait` and held answers include their waiting time.",
    ("route", "method"), _QUICK,
)  # fmt: skip
RATE_LIMITED: Final = Metric(
    "aitbc_coordinator_rate_limited_requests_total", "counter", "Requests that were answered 429, by policy.", ("policy",)
)  # fmt: skip
CONNECTIONS: Final = Metric(
    "aitbc_coordinator_connections", "gauge", "Open connections: with_key after a request with a valid key, otherwise without_key.",
    ("kind",), read=True,
)  # fmt: skip
CONNECTIONS_LIMIT: Final = Metric(
    "aitbc_coordinator_connections_limit", "gauge", "Maximum number of connections, from the settings and the process's limit on open files.",
    read=True,
)  # fmt: skip
CONNECTIONS_CLOSED: Final = Metric(
    "aitbc_coordinator_connections_closed_total", "counter",
    "Connections closed because of a limit: address and full (too many), head, head_size and body (a request arrived too slowly or its "
    "head was too large), send (an answer was not read).", ("reason",),
)  # fmt: skip
REFUSED: Final = Metric(
    "aitbc_coordinator_refused_requests_total", "counter",
    "Requests refused before their body was read: key (missing or invalid), size (too large), host (unknown name), "
    "origin (a WebSocket from another site's page).", ("reason",),
)  # fmt: skip
CLAIMED: Final = Metric(
    "aitbc_coordinator_jobs_claimed_total", "counter", "Leases given to miners, by service. A job that is retried counts again.",
    ("service",),
)  # fmt: skip
PICKUP_SECONDS: Final = Metric(
    "aitbc_coordinator_job_pickup_seconds", "histogram",
    "Time from a job's submission to its first lease, by service, including the wait for the client's files.", ("service",), _PATIENT,
)  # fmt: skip
RUN_SECONDS: Final = Metric(
    "aitbc_coordinator_job_run_seconds", "histogram", "Time from a lease to the result that completed its job, by service.",
    ("service",), _PATIENT,
)  # fmt: skip
LEASES_EXPIRED: Final = Metric(
    "aitbc_coordinator_leases_expired_total", "counter", "Leases that expired because their miner did not renew them."
)  # fmt: skip
REGISTRATIONS: Final = Metric(
    "aitbc_coordinator_miner_registrations_total", "counter", "Sessions begun by miners. A miner that restarts begins another one."
)  # fmt: skip
COMMIT_SECONDS: Final = Metric(
    "aitbc_coordinator_database_commit_seconds", "histogram", "Duration of one transaction of the writer, including the disk. The count is the number of commits.", (), _QUICK
)  # fmt: skip
BATCH_WRITES: Final = Metric(
    "aitbc_coordinator_database_batch_writes", "histogram", "Writes that shared one transaction.", (), (1, 2, 4, 8, 16, 32, 64, 128, 256)
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
    REQUESTS, REQUEST_SECONDS, RATE_LIMITED, REFUSED, CONNECTIONS, CONNECTIONS_LIMIT, CONNECTIONS_CLOSED, JOBS, SUBMITTED, CLAIMED, FINISHED, PICKUP_SECONDS, RUN_SECONDS, LEASES_EXPIRED,
    QUEUE, OLDEST_SECONDS, MINERS, REGISTRATIONS, SUBSCRIBERS, COMMIT_SECONDS, BATCH_WRITES, WRITES_WAITING, UNWRITABLE, LEADS,
    ARTIFACT_BYTES, DISK_FREE_BYTES, DISK_BYTES,
)  # fmt: skip
