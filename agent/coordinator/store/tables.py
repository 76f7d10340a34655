"""The tables. Times are seconds since the epoch (float), money integers of 1e-8 units, JSON canonical text."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

accounts = Table(
    "accounts",
    metadata,
    Column("account_id", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at", Float, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", String(64), primary_key=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("role", String(16), nullable=False),
    Column("account_id", ForeignKey("accounts.account_id"), nullable=True),
    Column("miner_id", String(64), nullable=True),
    Column("name", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("revoked_at", Float, nullable=True),
)

challenges = Table(
    "challenges",
    metadata,
    Column("nonce", String(64), primary_key=True),
    Column("expires_at", Float, nullable=False, index=True),
)

# The first answer to each request that carried an Idempotency-Key, and what that request said.
idempotency = Table(
    "idempotency",
    metadata,
    Column("account_id", ForeignKey("accounts.account_id"), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("request_sha256", String(64), nullable=False),
    Column("answer", Text, nullable=False),
    Column("created_at", Float, nullable=False, index=True),
)

enrolments = Table(
    "enrolments",
    metadata,
    Column("enrolment_id", String(64), primary_key=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("uses_left", Integer, nullable=False),
)

miners = Table(
    "miners",
    metadata,
    Column("miner_id", String(64), primary_key=True),
    Column("public_key", LargeBinary(32), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("session", Integer, nullable=False),
    Column("session_sha256", String(64), nullable=False, unique=True),
    Column("capabilities", Text, nullable=False),
    Column("telemetry", Text, nullable=False),
    Column("paused", Text, nullable=True),
    Column("registered_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("job_id", String(64), primary_key=True),
    Column("account_id", ForeignKey("accounts.account_id"), nullable=False),
    Column("service", String(64), nullable=False),
    Column("type", String(64), nullable=False),
    Column("name", Text, nullable=False),
    Column("model", Text, nullable=True),
    Column("spec", Text, nullable=False),
    Column("spec_digest", String(64), nullable=False),
    Column("cpu_millis", Integer, nullable=False),
    Column("memory", BigInteger, nullable=False),
    Column("gpus", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("max_cost", BigInteger, nullable=False),
    # The operator's part of the price, in parts per million.
    Column("fee_ppm", Integer, nullable=False),
    Column("requested_miner_id", String(64), nullable=True),
    # An offer that the client has accepted, and the price per unit that was agreed on.
    Column("offer_id", String(64), nullable=True),
    Column("agreed_price", BigInteger, nullable=True),
    # Dotted paths of file fields that the client still has to upload; NULL once there are none.
    Column("missing_files", Text, nullable=True),
    Column("webhook_url", Text, nullable=True),
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
    Column("failure_code", String(64), nullable=True),
    Column("failure_message", Text, nullable=True),
    Column("avoid_miner_id", String(64), nullable=True),
    Column("avoid_until", Float, nullable=True),
    Index("ix_jobs_account", "account_id", "job_id"),
    # For each way in which jobs are listed, newest first: of an account or of all, of a state, a service, or both. Jobs that
    # have ended stand apart: an index over all states would draw the dispatcher's queries away from its own.
    Index("ix_jobs_account_state", "account_id", "state", "job_id"),
    Index("ix_jobs_account_service", "account_id", "service", "job_id"),
    Index("ix_jobs_service", "service", "job_id"),
    Index(
        "ix_jobs_ended_by_account",
        "account_id",
        "service",
        "state",
        "job_id",
        sqlite_where=text("finished_at IS NOT NULL"),
        postgresql_where=text("finished_at IS NOT NULL"),
    ),
    Index(
        "ix_jobs_ended_by_service",
        "service",
        "state",
        "job_id",
        sqlite_where=text("finished_at IS NOT NULL"),
        postgresql_where=text("finished_at IS NOT NULL"),
    ),
    Index(
        "ix_jobs_ended_by_state",
        "state",
        "job_id",
        sqlite_where=text("finished_at IS NOT NULL"),
        postgresql_where=text("finished_at IS NOT NULL"),
    ),
    Index(
        "ix_jobs_open_by_service",
        "service",
        "state",
        "job_id",
        sqlite_where=text("finished_at IS NULL"),
        postgresql_where=text("finished_at IS NULL"),
    ),
    Index(
        "ix_jobs_open_by_state",
        "state",
        "job_id",
        sqlite_where=text("finished_at IS NULL"),
        postgresql_where=text("finished_at IS NULL"),
    ),
    Index(
        "ix_jobs_submitted_by_service",
        "service",
        "job_id",
        sqlite_where=text("state = 'submitted'"),
        postgresql_where=text("state = 'submitted'"),
    ),
    Index(
        "ix_jobs_claimable",
        text("priority DESC"),
        "job_id",
        sqlite_where=text("state = 'submitted' AND missing_files IS NULL"),
        postgresql_where=text("state = 'submitted' AND missing_files IS NULL"),
    ),
    # In a queue that is longer than one look at it: the most urgent jobs of each account.
    Index(
        "ix_jobs_claimable_by_account",
        "service",
        "account_id",
        text("priority DESC"),
        "job_id",
        sqlite_where=text("state = 'submitted' AND missing_files IS NULL"),
        postgresql_where=text("state = 'submitted' AND missing_files IS NULL"),
    ),
    Index(
        "ix_jobs_waiting_for_models",
        "service",
        "model",
        sqlite_where=text(
            "state = 'submitted' AND missing_files IS NULL AND requested_miner_id IS NULL AND model IS NOT NULL"
        ),
        postgresql_where=text(
            "state = 'submitted' AND missing_files IS NULL AND requested_miner_id IS NULL AND model IS NOT NULL"
        ),
    ),
    Index(
        "ix_jobs_running_by_account",
        "account_id",
        sqlite_where=text("state = 'running'"),
        postgresql_where=text("state = 'running'"),
    ),
    Index(
        "ix_jobs_running_by_miner",
        "lease_miner_id",
        sqlite_where=text("state = 'running'"),
        postgresql_where=text("state = 'running'"),
    ),
    Index(
        "ix_jobs_waiting_for_files",
        "created_at",
        sqlite_where=text("state = 'submitted' AND missing_files IS NOT NULL"),
        postgresql_where=text("state = 'submitted' AND missing_files IS NOT NULL"),
    ),
    Index(
        "ix_jobs_bound",
        "offer_id",
        sqlite_where=text("state = 'submitted' AND offer_id IS NOT NULL"),
        postgresql_where=text("state = 'submitted' AND offer_id IS NOT NULL"),
    ),
    Index(
        "ix_jobs_lease_expiry",
        "lease_expires_at",
        sqlite_where=text("state = 'running'"),
        postgresql_where=text("state = 'running'"),
    ),
    Index(
        "ix_jobs_leased_by",
        "lease_miner_id",
        sqlite_where=text("lease_miner_id IS NOT NULL"),
        postgresql_where=text("lease_miner_id IS NOT NULL"),
    ),
)

# How many jobs of an account and service are in each state, so that nobody has to count them.
job_counts = Table(
    "job_counts",
    metadata,
    Column("account_id", ForeignKey("accounts.account_id"), primary_key=True),
    Column("service", String(64), primary_key=True),
    Column("state", String(16), primary_key=True),
    Column("count", BigInteger, nullable=False),
    Index(
        "ix_job_counts_waiting",
        "service",
        "account_id",
        sqlite_where=text("state = 'submitted' AND count > 0"),
        postgresql_where=text("state = 'submitted' AND count > 0"),
    ),
)

# Money as people see it: a credit, or the payment of one job with what was held and what became of it.
transactions = Table(
    "transactions",
    metadata,
    Column("tx_id", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("account_id", ForeignKey("accounts.account_id"), nullable=False),
    Column("miner_id", String(64), nullable=True),
    Column("job_id", ForeignKey("jobs.job_id"), nullable=True, unique=True),
    Column("held", BigInteger, nullable=False),
    Column("paid", BigInteger, nullable=False),
    Column("fee", BigInteger, nullable=False),
    Column("note", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("settled_at", Float, nullable=True),
    Index("ix_transactions_account", "account_id", "tx_id"),
    Index(
        "ix_transactions_miner",
        "miner_id",
        "tx_id",
        sqlite_where=text("miner_id IS NOT NULL"),
        postgresql_where=text("miner_id IS NOT NULL"),
    ),
)

# The same in double entry: each transaction has one or two entries (hold and settlement), and each sums to zero.
postings = Table(
    "postings",
    metadata,
    Column("tx_id", ForeignKey("transactions.tx_id"), primary_key=True),
    Column("entry", String(16), primary_key=True),
    Column("ledger_account", String(80), primary_key=True),
    Column("amount", BigInteger, nullable=False),
)

balances = Table(
    "balances",
    metadata,
    Column("ledger_account", String(80), primary_key=True),
    Column("amount", BigInteger, nullable=False),
)

# Prices of miners for jobs of a type or name. `kind` is the type in the spelling in which it is compared; `service` is set for
# standing offers, which follow from a miner's configured prices and have neither a limit nor an end.
offers = Table(
    "offers",
    metadata,
    Column("offer_id", String(64), primary_key=True),
    Column("miner_id", ForeignKey("miners.miner_id"), nullable=False),
    Column("job_type", String(64), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("service", String(64), nullable=True),
    Column("price", BigInteger, nullable=False),
    Column("max_jobs", Integer, nullable=True),
    Column("jobs_left", Integer, nullable=True),
    Column("min_gpu_memory", BigInteger, nullable=False),
    Column("min_cpu_millis", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=True),
    Column("state", String(16), nullable=False),
    CheckConstraint("jobs_left >= 0 AND jobs_left <= max_jobs", name="ck_offers_jobs_left"),
    UniqueConstraint("miner_id", "service", name="uq_offers_standing"),
    Index("ix_offers_miner", "miner_id", "offer_id"),
    Index(
        "ix_offers_open_of_miner",
        "miner_id",
        sqlite_where=text("state = 'active'"),
        postgresql_where=text("state = 'active'"),
    ),
    Index(
        "ix_offers_cheapest",
        "price",
        "offer_id",
        sqlite_where=text("state = 'active'"),
        postgresql_where=text("state = 'active'"),
    ),
    Index(
        "ix_offers_cheapest_of_kind",
        "kind",
        "price",
        "offer_id",
        sqlite_where=text("state = 'active'"),
        postgresql_where=text("state = 'active'"),
    ),
    Index(
        "ix_offers_expiry",
        "expires_at",
        sqlite_where=text("state = 'active'"),
        postgresql_where=text("state = 'active'"),
    ),
)

# What came of each miner's work so far, and how much speaks for and against it (core/reputation.py).
miner_stats = Table(
    "miner_stats",
    metadata,
    Column("miner_id", ForeignKey("miners.miner_id"), primary_key=True),
    Column("completed", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    # Of the completed jobs together, from being given to the miner to the result.
    Column("seconds", Float, nullable=False),
    Column("paid", BigInteger, nullable=False),
    Column("earned", BigInteger, nullable=False),
    Column("good", Float, nullable=False),
    Column("bad", Float, nullable=False),
    Column("evidence_at", Float, nullable=False),
)

# The same evidence for each client apart; a miner's is the sum of its clients'.
client_evidence = Table(
    "client_evidence",
    metadata,
    Column("miner_id", ForeignKey("miners.miner_id"), primary_key=True),
    Column("account_id", ForeignKey("accounts.account_id"), primary_key=True),
    Column("good", Float, nullable=False),
    Column("bad", Float, nullable=False),
    Column("evidence_at", Float, nullable=False),
)

# Every change that somebody may watch, in the order in which the changes happened. `account_id` is who may see it (NULL:
# everybody), `miner_id` whose owner may see it as well.
events = Table(
    "events",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("type", String(32), nullable=False),
    Column("account_id", String(64), nullable=True),
    Column("miner_id", String(64), nullable=True),
    Column("job_id", String(64), nullable=True),
    Column("data", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Index("ix_events_account", "account_id", "seq"),
    Index(
        "ix_events_miner",
        "miner_id",
        "seq",
        sqlite_where=text("miner_id IS NOT NULL"),
        postgresql_where=text("miner_id IS NOT NULL"),
    ),
    Index(
        "ix_events_job",
        "job_id",
        "seq",
        sqlite_where=text("job_id IS NOT NULL"),
        postgresql_where=text("job_id IS NOT NULL"),
    ),
    sqlite_autoincrement=True,  # a number is never given twice, even when the newest rows have been pruned
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
    Column("count", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("artifact_id", String(80), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("created_at", Float, nullable=False),
)

# Who stored an artifact: an account or a miner (`owner` is the id of either), and what they say it is.
artifact_owners = Table(
    "artifact_owners",
    metadata,
    Column("artifact_id", ForeignKey("artifacts.artifact_id"), primary_key=True),
    Column("owner", String(64), primary_key=True),
    Column("media_type", Text, nullable=False),
)

# Bytes of the artifacts that each owner has stored, kept with every change of `artifact_owners`.
stored_bytes = Table(
    "stored_bytes",
    metadata,
    Column("owner", String(64), primary_key=True),
    Column("size", BigInteger, nullable=False),
)

# Resumable uploads. `length` is NULL while the client has not told it; `artifact_id` is there once all bytes are, and
# `finished_at` once the artifact is stored.
uploads = Table(
    "uploads",
    metadata,
    Column("upload_id", String(64), primary_key=True),
    Column("account_id", ForeignKey("accounts.account_id"), nullable=False),
    Column("length", BigInteger, nullable=True),
    Column("received", BigInteger, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("artifact_id", String(80), nullable=True),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False, index=True),
    Column("finished_at", Float, nullable=True),
    Index(
        "ix_uploads_unfinished",
        "account_id",
        sqlite_where=text("finished_at IS NULL"),
        postgresql_where=text("finished_at IS NULL"),
    ),
)

job_artifacts = Table(
    "job_artifacts",
    metadata,
    Column("job_id", ForeignKey("jobs.job_id"), primary_key=True),
    Column("artifact_id", ForeignKey("artifacts.artifact_id"), primary_key=True),
    Column("direction", String(8), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("media_type", Text, nullable=False),
    Index("ix_job_artifacts_artifact_id", "artifact_id"),
)

# Outputs that a run handed over before it ended; `extra` is JSON. Those that the results name are job_artifacts as well.
kept_outputs = Table(
    "kept_outputs",
    metadata,
    Column("job_id", ForeignKey("jobs.job_id"), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("artifact_id", ForeignKey("artifacts.artifact_id"), nullable=False, index=True),
    Column("media_type", Text, nullable=False),
    Column("extra", Text, nullable=False),
)

# What messages to an account's webhooks are signed with. These secrets must be known in full to sign with them.
webhook_secrets = Table(
    "webhook_secrets",
    metadata,
    Column("account_id", ForeignKey("accounts.account_id"), primary_key=True),
    Column("secret", String(100), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("previous", String(100), nullable=True),
    Column("previous_until", Float, nullable=True),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("webhook_id", String(64), primary_key=True),
    Column("job_id", ForeignKey("jobs.job_id"), nullable=False, index=True),
    Column("account_id", ForeignKey("accounts.account_id"), nullable=False),
    Column("url", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("type", String(32), nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", Float, nullable=True),
    Column("last_attempt_at", Float, nullable=True),
    Column("last_status", Integer, nullable=True),
    Column("last_error", Text, nullable=True),
    Column("finished_at", Float, nullable=True),
    Index(
        "ix_webhook_deliveries_due",
        "next_attempt_at",
        "account_id",
        "lane",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    Index(
        "ix_webhook_deliveries_lane",
        "lane",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    Index(
        "ix_webhook_deliveries_finished",
        "finished_at",
        sqlite_where=text("finished_at IS NOT NULL"),
        postgresql_where=text("finished_at IS NOT NULL"),
    ),
)

# Addresses that answered 410: jobs from before that send nothing there any more.
gone_webhooks = Table(
    "gone_webhooks",
    metadata,
    Column("account_id", ForeignKey("accounts.account_id"), primary_key=True),
    Column("url_sha256", String(64), primary_key=True),
    Column("gone_at", Float, nullable=False, index=True),
)

# A number that the database counts up: SQLite counts only its own INTEGER.
_Counted = BigInteger().with_variant(Integer, "sqlite")

# Leaves of the log that have no number yet: written with what they are about, numbered in batches soon after.
log_queue = Table(
    "log_queue",
    metadata,
    Column("entry_id", _Counted, primary_key=True),
    Column("reference", String(80), nullable=False),
    Column("leaf_hash", LargeBinary(32), nullable=False),
    Column("content", Text, nullable=True),
)

# Numbered leaves. `reference` is a receipt's or a settlement's id; `content` is a settlement's leaf, NULL for a receipt.
log_leaves = Table(
    "log_leaves",
    metadata,
    Column("leaf_index", _Counted, primary_key=True, autoincrement=False),
    Column("reference", String(80), nullable=False, unique=True),
    Column("content", Text, nullable=True),
)

# The log's tree as tiles (https://c2sp.org/tlog-tiles): up to 256 hashes of one level, one after the other.
log_tiles = Table(
    "log_tiles",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("tile_index", BigInteger, primary_key=True, autoincrement=False),
    Column("hashes", LargeBinary, nullable=False),
)

# Every checkpoint that was ever signed; what the log has promised.
log_checkpoints = Table(
    "log_checkpoints",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("root", LargeBinary(32), nullable=False),
    Column("note", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("cosigned", Integer, nullable=False),
    Index(
        "ix_log_checkpoints_cosigned",
        "size",
        sqlite_where=text("cosigned > 0"),
        postgresql_where=text("cosigned > 0"),
    ),
)

log_cosignatures = Table(
    "log_cosignatures",
    metadata,
    Column("size", ForeignKey("log_checkpoints.size"), primary_key=True),
    Column("witness", String(400), primary_key=True),
    Column("timestamp", BigInteger, nullable=False),
    Column("line", Text, nullable=False),
)

__all__ = [
    "accounts",
    "api_keys",
    "artifact_owners",
    "artifacts",
    "balances",
    "challenges",
    "client_evidence",
    "durations",
    "enrolments",
    "events",
    "gone_webhooks",
    "idempotency",
    "job_artifacts",
    "job_counts",
    "jobs",
    "kept_outputs",
    "log_checkpoints",
    "log_cosignatures",
    "log_leaves",
    "log_queue",
    "log_tiles",
    "metadata",
    "miner_stats",
    "miners",
    "offers",
    "postings",
    "receipts",
    "results",
    "runs",
    "stored_bytes",
    "transactions",
    "uploads",
    "webhook_deliveries",
    "webhook_secrets",
]
