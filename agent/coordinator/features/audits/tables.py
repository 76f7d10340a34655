"""Audits of finished jobs, what they have shown of each miner, and jobs with known answers."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, String, Table, Text

from agent.coordinator.store.schema.tables._metadata import metadata, where

# Opinions of auditors. A row whose `root` is itself is an audit; the others are further opinions for it. `verdict` of a root is the
# audit's decision, `opinion` that of its first auditor; for the others both are the same.
audits = Table(
    "audits",
    metadata,
    Column("audit_id", String(64), primary_key=True),
    Column("root", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    # The audited job, its account, its miner and the fence of the run.
    Column("job_id", ForeignKey("jobs.job_id"), nullable=False),
    Column("account_id", String(64), nullable=False),
    Column("miner_id", String(64), nullable=False),
    Column("fence", Integer, nullable=False),
    Column("service", String(64), nullable=False),
    Column("model", Text, nullable=False),
    Column("engine", Text, nullable=False),
    Column("status", String(16), nullable=False),
    # What the miner sent for an audit, until the audit job has it.
    Column("evidence", Text, nullable=True),
    Column("canary_id", String(64), nullable=True),
    # The job that asks an auditor, and how many have been asked.
    Column("audit_job_id", String(64), nullable=True),
    Column("asked", Integer, nullable=False, server_default="0"),
    Column("auditor_id", String(64), nullable=True),
    Column("opinion", String(16), nullable=True),
    Column("verdict", String(16), nullable=True),
    Column("distances", Text, nullable=False, server_default="{}"),
    Column("limits", Text, nullable=False, server_default="{}"),
    Column("position", Text, nullable=False, server_default=""),
    Column("reason", Text, nullable=False, server_default=""),
    # Why it proves nothing: of an opinion as its auditor says, of a decided root as the audit has shown.
    Column("cause", String(16), nullable=False, server_default=""),
    # What of the audited statement or evidence contradicts the miner's registration.
    Column("contradiction", Text, nullable=False, server_default=""),
    # Part of the digest of distances, limits, position and reason in the public log.
    Column("salt", String(32), nullable=False, server_default=""),
    Column("created_at", Float, nullable=False),
    Column("decided_at", Float, nullable=True),
    # Of a root: when nothing more follows from it, and the sanction: the probability that an honest miner gets it, and the money.
    Column("settled_at", Float, nullable=True),
    Column("probability", Float, nullable=True),
    Column("enforced", Integer, nullable=False, server_default="0"),
    Column("forfeited", BigInteger, nullable=False, server_default="0"),
    # What the client has paid for the audit that it requested.
    Column("charged", BigInteger, nullable=False, server_default="0"),
    Index("ix_audits_root", "root", "audit_id"),
    Index("ix_audits_job", "job_id"),
    Index("ix_audits_miner", "miner_id", "audit_id"),
    Index("ix_audits_open", "status", "audit_id", **where("decided_at IS NULL")),
    Index("ix_audits_unsettled", "decided_at", **where("decided_at IS NOT NULL AND settled_at IS NULL")),
    Index("ix_audits_failed", "miner_id", "service", "model", **where("verdict = 'fail'")),
)

# What audits have shown of a miner, or of an auditor, in one service and model (core/market/audits.py).
audit_proofs = Table(
    "audit_proofs",
    metadata,
    Column("miner_id", String(64), primary_key=True),
    Column("role", String(16), primary_key=True),
    Column("service", String(64), primary_key=True),
    Column("model", Text, primary_key=True),
    Column("engine", Text, nullable=False),
    Column("passes", Integer, nullable=False),
    Column("checked", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("canaries_checked", Integer, nullable=False),
    Column("canaries_failed", Integer, nullable=False),
    Column("unproven", Integer, nullable=False, server_default="0"),
    Column("at_fault", Integer, nullable=False, server_default="0"),
    Column("refuted_in_row", Integer, nullable=False, server_default="0"),
)

# Jobs with known answers: the job that gave the answer, its specification and results. `due_at` is when it is submitted next.
canaries = Table(
    "canaries",
    metadata,
    Column("canary_id", String(64), primary_key=True),
    Column("account_id", ForeignKey("accounts.account_id"), nullable=False),
    Column("job_id", ForeignKey("jobs.job_id"), nullable=False),
    Column("spec", Text, nullable=False),
    Column("results", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("submitted", Integer, nullable=False, server_default="0"),
    Column("created_at", Float, nullable=False),
    Column("due_at", Float, nullable=True),
    Column("deleted_at", Float, nullable=True),
)
