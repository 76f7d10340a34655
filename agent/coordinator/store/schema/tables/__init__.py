"""The tables. Times are seconds since the epoch (float), money integers of 1e-8 units, JSON canonical text."""

from __future__ import annotations

from agent.coordinator.store.schema.tables._metadata import HAS_BLOB, metadata
from agent.coordinator.store.schema.tables.access import (
    accounts,
    api_keys,
    challenges,
    enrolments,
    idempotency,
    miners,
)
from agent.coordinator.store.schema.tables.files import (
    artifact_owners,
    artifacts,
    job_artifacts,
    job_checkpoints,
    removed_blobs,
    run_outputs,
    stored_bytes,
)
from agent.coordinator.store.schema.tables.jobs_and_runs import (
    durations,
    events,
    job_counts,
    jobs,
    receipts,
    recent_job_counts,
    results,
    runs,
)
from agent.coordinator.store.schema.tables.money import balances, postings, recent_parts, transactions

__all__ = [
    "HAS_BLOB",
    "accounts",
    "api_keys",
    "artifact_owners",
    "artifacts",
    "balances",
    "challenges",
    "durations",
    "enrolments",
    "events",
    "idempotency",
    "job_artifacts",
    "job_checkpoints",
    "job_counts",
    "jobs",
    "metadata",
    "miners",
    "postings",
    "receipts",
    "recent_job_counts",
    "recent_parts",
    "removed_blobs",
    "results",
    "run_outputs",
    "runs",
    "stored_bytes",
    "transactions",
]
