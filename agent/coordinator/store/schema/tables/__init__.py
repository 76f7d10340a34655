"""The tables. Times are seconds since the epoch (float), money integers of 1e-8 units, JSON canonical text."""

from __future__ import annotations

from agent.coordinator.store.schema.tables._metadata import metadata
from agent.coordinator.store.schema.tables.access import (
    accounts,
    api_keys,
    browser_session_keys,
    browser_sessions,
    challenges,
    enrolments,
    idempotency,
    logins,
    miner_commands,
    miners,
)
from agent.coordinator.store.schema.tables.audits import audit_proofs, audits, canaries
from agent.coordinator.store.schema.tables.files import (
    artifact_owners,
    artifacts,
    direct_uploads,
    job_artifacts,
    job_checkpoints,
    removed_blobs,
    run_outputs,
    stored_bytes,
    upload_segments,
    uploads,
)
from agent.coordinator.store.schema.tables.history import history
from agent.coordinator.store.schema.tables.jobs import (
    durations,
    events,
    job_counts,
    job_labels,
    job_logs,
    jobs,
    receipts,
    results,
    runs,
)
from agent.coordinator.store.schema.tables.log import (
    log_checkpoints,
    log_cosignatures,
    log_leaves,
    log_queue,
    log_tiles,
)
from agent.coordinator.store.schema.tables.marketplace import (
    client_evidence,
    client_failures,
    miner_days,
    miner_releases,
    miner_stats,
    offers,
)
from agent.coordinator.store.schema.tables.money import balances, postings, transactions
from agent.coordinator.store.schema.tables.webhooks import gone_webhooks, webhook_deliveries, webhook_secrets

__all__ = [
    "accounts",
    "api_keys",
    "artifact_owners",
    "artifacts",
    "audit_proofs",
    "audits",
    "balances",
    "browser_session_keys",
    "browser_sessions",
    "canaries",
    "challenges",
    "client_evidence",
    "client_failures",
    "direct_uploads",
    "durations",
    "enrolments",
    "events",
    "gone_webhooks",
    "history",
    "idempotency",
    "job_artifacts",
    "job_checkpoints",
    "job_counts",
    "job_labels",
    "job_logs",
    "jobs",
    "log_checkpoints",
    "log_cosignatures",
    "log_leaves",
    "log_queue",
    "log_tiles",
    "logins",
    "metadata",
    "miner_commands",
    "miner_days",
    "miner_releases",
    "miner_stats",
    "miners",
    "offers",
    "postings",
    "receipts",
    "removed_blobs",
    "results",
    "run_outputs",
    "runs",
    "stored_bytes",
    "transactions",
    "upload_segments",
    "uploads",
    "webhook_deliveries",
    "webhook_secrets",
]
