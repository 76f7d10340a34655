"""The schema of version 0.1.0, the oldest that was released."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from agent.coordinator.store.schema.migrations.declaring import columns, create, index, unique

revision = "0011"
down_revision = None

RUNNING = "state = 'running'"
SUBMITTED = "state = 'submitted'"
CLAIMABLE = "state = 'submitted' AND missing_files IS NULL"
ENDED = "finished_at IS NOT NULL"
OPEN = "finished_at IS NULL"
ACTIVE = "state = 'active'"
PENDING = "state = 'pending'"


def upgrade() -> None:
    """Create all tables and indexes."""
    _access()
    _files()
    _jobs()
    _job_parts()
    _miners()
    _offers()
    _money()
    _feed()
    _log()
    _webhooks()


def _access() -> None:
    create("accounts", "account_id:64 name:text created_at:float", "account_id")
    create("challenges", "nonce:64 expires_at:float", "nonce")
    index("challenges_expires_at", "challenges", "expires_at")
    create(
        "enrolments",
        "enrolment_id:64 sha256:64 created_at:float expires_at:float uses_left:int",
        "enrolment_id",
        unique("enrolments", "sha256"),
    )
    create(
        "api_keys",
        "key_id:64 sha256:64 role:16 account_id:64? miner_id:64? name:text created_at:float revoked_at:float?",
        "key_id",
        unique("api_keys", "sha256"),
        account_id="accounts",
    )
    index("api_keys_account", "api_keys", "account_id key_id")
    create(
        "idempotency",
        "account_id:64 key:255 request_sha256:64 answer:text created_at:float",
        "account_id key",
        account_id="accounts",
    )
    index("idempotency_created_at", "idempotency", "created_at")


def _files() -> None:
    create("artifacts", "artifact_id:80 size:big created_at:float", "artifact_id")
    create(
        "artifact_owners",
        "artifact_id:80 owner:64 media_type:text",
        "artifact_id owner",
        artifact_id="artifacts",
    )
    create("stored_bytes", "owner:64 size:big", "owner")
    create(
        "uploads",
        "upload_id:64 account_id:64 length:big? received:big metadata:text artifact_id:80? created_at:float expires_at:float "
        "finished_at:float?",
        "upload_id",
        account_id="accounts",
    )
    index("uploads_expires_at", "uploads", "expires_at")
    index("uploads_unfinished", "uploads", "account_id", OPEN)


def _jobs() -> None:
    create(
        "jobs",
        "job_id:64 account_id:64 service:64 type:64 name:text model:text? spec:text spec_digest:64 cpu_millis:int memory:big gpus:int "
        "priority:int max_cost:big requested_miner_id:64? missing_files:text? created_at:float state:16 timeout_seconds:float "
        "max_attempts:int attempts:int fence:int miner_id:64? lease_session:int? lease_assigned_at:float? lease_expires_at:float? "
        "lease_deadline:float? lease_miner_id:64? unit_price:big? started_at:float? finished_at:float? progress:float units:text "
        "failure_code:64? failure_message:text? avoid_miner_id:64? avoid_until:float? fee_ppm:int=0 offer_id:64? agreed_price:big? "
        "webhook_url:text? client_trace_id:32?",
        "job_id",
        account_id="accounts",
    )
    for name, words, condition in (
        ("account", "account_id job_id", None),
        ("account_state", "account_id state job_id", None),
        ("account_service", "account_id service job_id", None),
        ("service", "service job_id", None),
        ("lease_expiry", "lease_expires_at", RUNNING),
        ("leased_by", "lease_miner_id", "lease_miner_id IS NOT NULL"),
        ("running_by_account", "account_id", RUNNING),
        ("running_by_miner", "lease_miner_id", RUNNING),
        ("waiting_for_files", "created_at", "state = 'submitted' AND missing_files IS NOT NULL"),
        ("waiting_for_models", "service model", f"{CLAIMABLE} AND requested_miner_id IS NULL AND model IS NOT NULL"),
        ("claimable", "-priority job_id", CLAIMABLE),
        ("claimable_by_account", "service account_id -priority job_id", CLAIMABLE),
        ("bound", "offer_id", "state = 'submitted' AND offer_id IS NOT NULL"),
        ("ended_by_account", "account_id service state job_id", ENDED),
        ("ended_by_service", "service state job_id", ENDED),
        ("ended_by_state", "state job_id", ENDED),
        ("open_by_service", "service state job_id", OPEN),
        ("open_by_state", "state job_id", OPEN),
        ("submitted_by_service", "service job_id", SUBMITTED),
    ):  # fmt: skip
        index(f"jobs_{name}", "jobs", words, condition)


def _job_parts() -> None:
    create(
        "job_artifacts",
        "job_id:64 artifact_id:80 direction:8 name:255 media_type:text",
        "job_id artifact_id direction name",
        artifact_id="artifacts",
        job_id="jobs",
    )
    index("job_artifacts_artifact_id", "job_artifacts", "artifact_id")
    create(
        "kept_outputs",
        "job_id:64 name:255 artifact_id:80 media_type:text extra:text",
        "job_id name",
        artifact_id="artifacts",
        job_id="jobs",
    )
    index("kept_outputs_artifact_id", "kept_outputs", "artifact_id")
    create("results", "job_id:64 results:text", "job_id", job_id="jobs")
    create(
        "receipts",
        "receipt_id:64 job_id:64 miner_id:64 statement_sha256:64 receipt:text created_at:float",
        "receipt_id",
        unique("receipts", "job_id"),
        job_id="jobs",
    )
    create(
        "runs",
        "job_id:64 fence:int miner_id:64 assigned_at:float ended_at:float outcome:16 failure_code:64? failure_message:text?",
        "job_id fence",
        job_id="jobs",
    )
    create("durations", "service:64 model:128 count:int seconds:float", "service model")
    create(
        "job_counts",
        "account_id:64 service:64 state:16 count:big",
        "account_id service state",
        account_id="accounts",
    )
    index("job_counts_waiting", "job_counts", "service account_id", f"{SUBMITTED} AND count > 0")


def _miners() -> None:
    create(
        "miners",
        "miner_id:64 public_key:bytes name:text session:int session_sha256:64 capabilities:text telemetry:text paused:text? "
        "registered_at:float seen_at:float agent_version:200? activity:text?",
        "miner_id",
        unique("miners", "public_key"),
        unique("miners", "session_sha256"),
    )
    create(
        "miner_orders",
        "order_id:64 miner_id:64 kind:16 gpu:200? seconds:float? model:200? created_at:float",
        "order_id",
        miner_id="miners",
    )
    index("miner_orders_miner", "miner_orders", "miner_id order_id")
    create("miner_days", "miner_id:64 day:int jobs:big earned:big", "miner_id day", miner_id="miners")
    create(
        "miner_stats",
        "miner_id:64 completed:big failed:big refused:big seconds:float paid:big earned:big good:float bad:float evidence_at:float",
        "miner_id",
        miner_id="miners",
    )
    create(
        "client_evidence",
        "miner_id:64 account_id:64 good:float bad:float evidence_at:float",
        "miner_id account_id",
        miner_id="miners",
        account_id="accounts",
    )
    create(
        "logins",
        "login_id:64 sha256:64 account_id:64? miner_id:64? admin:bool expires_at:float",
        "login_id",
        unique("logins", "sha256"),
        account_id="accounts",
        miner_id="miners",
    )
    index("logins_expires_at", "logins", "expires_at")


def _offers() -> None:
    create(
        "offers",
        "offer_id:64 miner_id:64 job_type:64 kind:64 service:64? price:big max_jobs:int? jobs_left:int? min_gpu_memory:big "
        "min_cpu_millis:int created_at:float expires_at:float? state:16",
        "offer_id",
        sa.CheckConstraint("jobs_left >= 0 AND jobs_left <= max_jobs", name="ck_offers_jobs_left"),
        unique("offers", "miner_id service", "standing"),
        miner_id="miners",
    )
    index("offers_miner", "offers", "miner_id offer_id")
    index("offers_open_of_miner", "offers", "miner_id", ACTIVE)
    index("offers_cheapest", "offers", "price offer_id", ACTIVE)
    index("offers_cheapest_of_kind", "offers", "kind price offer_id", ACTIVE)
    index("offers_expiry", "offers", "expires_at", ACTIVE)


def _money() -> None:
    create(
        "transactions",
        "tx_id:64 kind:16 status:16 account_id:64 miner_id:64? job_id:64? held:big paid:big fee:big note:text created_at:float "
        "settled_at:float?",
        "tx_id",
        unique("transactions", "job_id"),
        account_id="accounts",
        job_id="jobs",
    )
    index("transactions_account", "transactions", "account_id tx_id")
    index("transactions_miner", "transactions", "miner_id tx_id", "miner_id IS NOT NULL")
    create(
        "postings",
        "tx_id:64 entry:16 ledger_account:80 amount:big",
        "tx_id entry ledger_account",
        tx_id="transactions",
    )
    create("balances", "ledger_account:80 amount:big", "ledger_account")


def _feed() -> None:
    op.create_table(
        "events",
        *columns("seq:counted type:32 account_id:64? miner_id:64? job_id:64? data:text created_at:float"),
        sa.PrimaryKeyConstraint("seq", name="pk_events"),
        sqlite_autoincrement=True,
    )
    index("events_account", "events", "account_id seq")
    index("events_miner", "events", "miner_id seq", "miner_id IS NOT NULL")
    index("events_job", "events", "job_id seq", "job_id IS NOT NULL")


def _log() -> None:
    create("log_queue", "entry_id:counted reference:80 leaf_hash:bytes content:text?", "entry_id")
    create(
        "log_leaves",
        "leaf_index:number reference:80 content:text?",
        "leaf_index",
        unique("log_leaves", "reference"),
    )
    create("log_tiles", "level:int tile_index:big hashes:bytes", "level tile_index")
    create("log_checkpoints", "size:big root:bytes note:text created_at:float cosigned:int", "size")
    index("log_checkpoints_cosigned", "log_checkpoints", "size", "cosigned > 0")
    create(
        "log_cosignatures",
        "size:big witness:400 timestamp:big line:text",
        "size witness",
        size="log_checkpoints",
    )


def _webhooks() -> None:
    create(
        "webhook_secrets",
        "account_id:64 secret:100 created_at:float previous:100? previous_until:float?",
        "account_id",
        account_id="accounts",
    )
    create(
        "gone_webhooks",
        "account_id:64 url_sha256:64 gone_at:float",
        "account_id url_sha256",
        account_id="accounts",
    )
    index("gone_webhooks_gone_at", "gone_webhooks", "gone_at")
    create(
        "webhook_deliveries",
        "webhook_id:64 job_id:64 account_id:64 url:text lane:text type:32 body:text created_at:float state:16 attempts:int "
        "next_attempt_at:float? last_attempt_at:float? last_status:int? last_error:text? finished_at:float?",
        "webhook_id",
        account_id="accounts",
        job_id="jobs",
    )
    index("webhook_deliveries_job_id", "webhook_deliveries", "job_id")
    index("webhook_deliveries_due", "webhook_deliveries", "next_attempt_at account_id lane", PENDING)
    index("webhook_deliveries_lane", "webhook_deliveries", "lane", PENDING)
    index("webhook_deliveries_finished", "webhook_deliveries", "finished_at", ENDED)
