"""Jobs, the outcomes of their runs, and events about them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    text,
)

from agent.coordinator.store.schema.tables._metadata import COUNTED, NEVER_REUSED, metadata, where

_LISTED = where("deleted_at IS NULL")
_ENDED = where("finished_at IS NOT NULL AND deleted_at IS NULL")

jobs = Table(
    "jobs",
    metadata,
    Column("job_id", String(64), primary_key=True),
    Column("account_id", ForeignKey("accounts.account_id"), nullable=False),
    Column("service", String(64), nullable=False),
    Column("type", String(64), nullable=False),
    Column("name", Text, nullable=False),
    # 1 if the client gave the name, 0 if it is derived from the input. A derived one says nothing about the kind of the job.
    Column("name_given", Integer, nullable=False, server_default="1"),
    Column("model", Text, nullable=True),
    Column("spec", Text, nullable=False),
    Column("spec_digest", String(64), nullable=False),
    Column("cpu_millis", Integer, nullable=False),
    Column("memory", BigInteger, nullable=False),
    Column("gpus", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("max_cost", BigInteger, nullable=False),
    # The operator's share of the price, in parts per million.
    Column("fee_ppm", Integer, nullable=False),
    Column("requested_miner_id", String(64), nullable=True),
    # The price per unit on which the client and the requested miner have agreed; NULL if miners' current prices apply.
    Column("agreed_price", BigInteger, nullable=True),
    # The share of its miner's price that the job costs, in parts per million, if the miner agrees to that; NULL for all of it.
    Column("price_ppm", Integer, nullable=True),
    # JSON: dotted paths of file fields that the client has yet to upload; NULL if there are none.
    Column("missing_files", Text, nullable=True),
    # The client's trace id; if NULL, it is derived from the job's id.
    Column("client_trace_id", String(32), nullable=True),
    Column("created_at", Float, nullable=False),
    Column("state", String(16), nullable=False),
    Column("timeout_seconds", Float, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("miner_id", String(64), nullable=True),
    Column("lease_session", Integer, nullable=True),
    Column("lease_assigned_at", Float, nullable=True),
    Column("lease_expires_at", Float, nullable=True),
    Column("lease_deadline", Float, nullable=True),
    Column("lease_miner_id", String(64), nullable=True),
    Column("unit_price", BigInteger, nullable=True),
    Column("started_at", Float, nullable=True),
    Column("finished_at", Float, nullable=True),
    Column("progress", Float, nullable=False),
    Column("units", Text, nullable=False),
    # What the client has paid, once the job has ended; NULL for jobs that ended before this column existed.
    Column("cost", BigInteger, nullable=True),
    Column("failure_code", String(64), nullable=True),
    Column("failure_message", Text, nullable=True),
    Column("avoid_miner_id", String(64), nullable=True),
    Column("avoid_until", Float, nullable=True),
    # When the client deleted the job's data. What remains of the row is what the receipt and the ledger refer to.
    Column("deleted_at", Float, nullable=True),
    # JSON: features of the miner's engine that the job needs, as pairs of name and value; NULL if there are none.
    Column("needs", Text, nullable=True),
    # JSON: which miners may run the job, besides its resources; NULL if there are no restrictions (core/matching.py, Restrictions).
    Column("restrictions", Text, nullable=True),
    # What is held beside `max_cost` for options that cost something; NULL without any.
    Column("surcharge", BigInteger, nullable=True),
    # When the client was notified that the job waits for long.
    Column("notified_at", Float, nullable=True),
    # For all lists of jobs, newest first: of an account or of all, of a state, a service, or both. Ended jobs have separate indexes,
    # because the query planner would use an index over all states for the dispatcher's queries instead of theirs.
    Index("ix_jobs_account", "account_id", "job_id", **_LISTED),
    Index("ix_jobs_account_state", "account_id", "state", "job_id", **_LISTED),
    Index("ix_jobs_account_service", "account_id", "service", "job_id", **_LISTED),
    Index("ix_jobs_account_name", "account_id", "name", "job_id", **_LISTED),
    Index("ix_jobs_service", "service", "job_id", **_LISTED),
    Index("ix_jobs_ended_by_account", "account_id", "service", "state", "job_id", **_ENDED),
    Index("ix_jobs_ended_by_service", "service", "state", "job_id", **_ENDED),
    Index("ix_jobs_ended_by_state", "state", "job_id", **_ENDED),
    Index(
        "ix_jobs_miner",
        "miner_id",
        "job_id",
        "account_id",
        **where("miner_id IS NOT NULL AND deleted_at IS NULL"),
    ),
    Index("ix_jobs_open_by_service", "service", "state", "job_id", **where("finished_at IS NULL")),
    Index("ix_jobs_open_by_state", "state", "job_id", **where("finished_at IS NULL")),
    Index("ix_jobs_submitted_by_service", "service", "job_id", **where("state = 'submitted'")),
    Index(
        "ix_jobs_claimable",
        text("priority DESC"),
        "job_id",
        **where("state = 'submitted' AND missing_files IS NULL"),
    ),
    # For a queue that is longer than the claim window: the most urgent jobs of each account.
    Index(
        "ix_jobs_claimable_by_account",
        "service",
        "account_id",
        text("priority DESC"),
        "job_id",
        **where("state = 'submitted' AND missing_files IS NULL"),
    ),
    Index(
        "ix_jobs_waiting_for_models",
        "service",
        "model",
        **where(
            "state = 'submitted' AND missing_files IS NULL AND requested_miner_id IS NULL AND model IS NOT NULL"
        ),
    ),
    Index(
        "ix_jobs_waiting_for_files",
        "created_at",
        **where("state = 'submitted' AND missing_files IS NOT NULL"),
    ),
    Index(
        "ix_jobs_not_notified",
        "created_at",
        **where("state = 'submitted' AND missing_files IS NULL AND notified_at IS NULL"),
    ),
    # For jobs whose miner stays away.
    Index("ix_jobs_agreed", "job_id", **where("state = 'submitted' AND agreed_price IS NOT NULL")),
    Index("ix_jobs_leased_by", "lease_miner_id", "job_id", **where("lease_miner_id IS NOT NULL")),
)

# The number of jobs of an account and service in each state, so that they need not be counted. Jobs whose data was deleted count in
# states of their own (`counts.DELETED`).
job_counts = Table(
    "job_counts",
    metadata,
    Column("account_id", ForeignKey("accounts.account_id"), primary_key=True),
    Column("service", String(64), primary_key=True),
    Column("state", String(16), primary_key=True),
    Column("count", BigInteger, nullable=False),
    Index("ix_job_counts_waiting", "service", "account_id", **where("state = 'submitted' AND count > 0")),
)

# Changes of `job_counts` in the last seconds, on PostgreSQL. `part` is the number of the seconds (store/recent.py).
recent_job_counts = Table(
    "recent_job_counts",
    metadata,
    Column("account_id", ForeignKey("accounts.account_id"), primary_key=True),
    Column("part", BigInteger, primary_key=True, autoincrement=False),
    Column("service", String(64), primary_key=True),
    Column("state", String(16), primary_key=True),
    Column("change", BigInteger, nullable=False),
    # Its condition does not name `change`: then each change would add to all indexes, and readers pass what it adds.
    Index("ix_recent_job_counts_submitted", "service", "part", "account_id", **where("state = 'submitted'")),
    Index("ix_recent_job_counts_part", "part"),
)

runs = Table(
    "runs",
    metadata,
    Column("job_id", ForeignKey("jobs.job_id"), primary_key=True),
    Column("fence", Integer, primary_key=True),
    Column("miner_id", String(64), nullable=False),
    Column("assigned_at", Float, nullable=False),
    Column("ended_at", Float, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("failure_code", String(64), nullable=True),
    Column("failure_message", Text, nullable=True),
    # For the last fault of each miner.
    Index("ix_runs_faults", "miner_id", "ended_at", **where("outcome IN ('retried', 'expired')")),
)

results = Table(
    "results",
    metadata,
    Column("job_id", ForeignKey("jobs.job_id"), primary_key=True),
    Column("results", Text, nullable=False),
)

receipts = Table(
    "receipts",
    metadata,
    Column("receipt_id", String(64), primary_key=True),
    Column("job_id", ForeignKey("jobs.job_id"), nullable=False, unique=True),
    Column("miner_id", String(64), nullable=False),
    Column("statement_sha256", String(64), nullable=False),
    Column("receipt", Text, nullable=False),
    Column("created_at", Float, nullable=False),
)

durations = Table(
    "durations",
    metadata,
    Column("service", String(64), primary_key=True),
    Column("model", String(128), primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("seconds", Float, nullable=False),
)

# Every change that subscribers may see, in commit order. `account_id` is the account that may see it (NULL: every caller), and
# `miner_id` the miner whose owner may see it as well.
events = Table(
    "events",
    metadata,
    Column("seq", COUNTED, primary_key=True),
    Column("type", String(32), nullable=False),
    Column("account_id", String(64), nullable=True),
    Column("miner_id", String(64), nullable=True),
    Column("job_id", String(64), nullable=True),
    Column("data", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Index("ix_events_account", "account_id", "seq"),
    Index("ix_events_miner", "miner_id", "seq", **where("miner_id IS NOT NULL")),
    Index("ix_events_job", "job_id", "seq", **where("job_id IS NOT NULL")),
    **NEVER_REUSED,
)
