"""The coordinator's metrics that are updated while it runs (docs/reference/metrics.md). Labels have few values: no ids, no names that clients choose."""

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

METRICS: Final = (
    REQUESTS, REQUEST_SECONDS, CONNECTIONS_CLOSED, REFUSED, CLAIMED, PICKUP_SECONDS, RUN_SECONDS, LEASES_EXPIRED, REGISTRATIONS,
    COMMIT_SECONDS, BATCH_WRITES,
)  # fmt: skip
