"""All that version 0.2.0 added to the tables of 0.1.0."""

from __future__ import annotations

import json
from typing import Final

import sqlalchemy as sa
from alembic import op

from agent.coordinator.store.schema.migrations.declaring import add, create, index, unique

revision = "0030"
down_revision = "0011"

BOUNDS: Final = f"BETWEEN {-9 * 10**18} AND {9 * 10**18}"
BUCKET: Final = 300
"""Seconds of a row of the history."""
LISTED: Final = "deleted_at IS NULL"
ENDED: Final = "finished_at IS NOT NULL AND deleted_at IS NULL"


def upgrade() -> None:
    """Add tables, columns and indexes, and derive from what is stored who owns outputs, and the history of jobs and money."""
    _jobs()
    _miners()
    _money()
    _files()
    _history()
    _audits()
    _payouts()


def _jobs() -> None:
    add(
        "jobs",
        "cost:big? name_given:int=1 labels:text? deleted_at:float? needs:text? notified_at:float? restrictions:text? audit_hold:big?",
    )
    for name in ("lease_expiry", "running_by_account", "running_by_miner"):
        op.drop_index(f"ix_jobs_{name}", table_name="jobs")
    # Jobs whose data was deleted are in no list.
    for name, columns, condition in (
        ("leased_by", "lease_miner_id job_id", "lease_miner_id IS NOT NULL"),
        ("account", "account_id job_id", LISTED),
        ("account_state", "account_id state job_id", LISTED),
        ("account_service", "account_id service job_id", LISTED),
        ("service", "service job_id", LISTED),
        ("ended_by_account", "account_id service state job_id", ENDED),
        ("ended_by_service", "service state job_id", ENDED),
        ("ended_by_state", "state job_id", ENDED),
    ):
        op.drop_index(f"ix_jobs_{name}", table_name="jobs")
        index(f"jobs_{name}", "jobs", columns, condition)
    index("jobs_account_name", "jobs", "account_id name job_id", LISTED)
    index("jobs_miner", "jobs", "miner_id job_id account_id", f"miner_id IS NOT NULL AND {LISTED}")
    index("jobs_offer", "jobs", "offer_id job_id account_id", f"offer_id IS NOT NULL AND {LISTED}")
    index(
        "jobs_not_notified",
        "jobs",
        "created_at",
        "state = 'submitted' AND missing_files IS NULL AND notified_at IS NULL",
    )
    create("job_labels", "job_id:64 key:63 value:255 account_id:64", "job_id key", job_id="jobs")
    index("job_labels_account", "job_labels", "account_id key value job_id")
    index("job_labels_value", "job_labels", "key value job_id")
    create(
        "job_logs",
        "job_id:64 fence:int part:int attempt:int entries:text size:int truncated:int created_at:float",
        "job_id fence part",
        job_id="jobs",
    )
    index("job_logs_created_at", "job_logs", "created_at")
    create(
        "recent_job_counts",
        "account_id:64 service:64 state:16 part:big change:big",
        "account_id part service state",
        account_id="accounts",
    )
    index(
        "recent_job_counts_submitted", "recent_job_counts", "service part account_id", "state = 'submitted'"
    )
    index("recent_job_counts_part", "recent_job_counts", "part")
    create("recent_parts", "name:32 first:big", "name")


def _miners() -> None:
    add(
        "miners",
        "runners:text={} excluded_at:float? excluded_reason:text? removed_at:float? enrolment_id:64?",
    )
    index("miners_enrolment", "miners", "enrolment_id", "enrolment_id IS NOT NULL")
    add("miner_stats", "client_failed:big=0")
    add("enrolments", "uses:int=1 note:text='' created_by:64? used_at:float? revoked_at:float? owner:100?")
    op.execute("UPDATE enrolments SET uses = uses_left WHERE uses_left > 1")
    index("runs_faults", "runs", "miner_id ended_at", "outcome IN ('retried', 'expired')")
    create(
        "miner_releases",
        "miner_id:64 service:64='' count:float counted_at:float pause_until:float",
        "miner_id service",
        miner_id="miners",
    )
    index("miner_releases_pause_until", "miner_releases", "pause_until")
    create(
        "client_failures", "account_id:64 count:float counted_at:float", "account_id", account_id="accounts"
    )
    index("client_failures_count", "client_failures", "count")
    create(
        "recent_work",
        "work_id:counted part:big miner_id:64 account_id:64 completed:big failed:big client_failed:big refused:big seconds:float paid:big "
        "earned:big success:int? weight:float service:64? model:128? run_seconds:float? done_at:float",
        "work_id",
    )
    index("recent_work_part", "recent_work", "part")
    index("recent_work_miner", "recent_work", "miner_id part")
    with op.batch_alter_table("durations") as durations:
        durations.alter_column(
            "count", existing_type=sa.Integer(), type_=sa.BigInteger(), existing_nullable=False
        )
    _commands()
    _capabilities()


def _commands() -> None:
    """Commands were called orders."""
    create(
        "miner_commands",
        "command_id:64 miner_id:64 kind:16 gpu:200? seconds:float? model:200? created_at:float settings:text? given_by:120='' "
        "executed_at:float? refusal:text?",
        "command_id",
        miner_id="miners",
    )
    index("miner_commands_miner", "miner_commands", "miner_id command_id")
    index("miner_commands_waiting", "miner_commands", "miner_id command_id", "executed_at IS NULL")
    op.execute(
        "INSERT INTO miner_commands (command_id, miner_id, kind, gpu, seconds, model, created_at) "
        "SELECT order_id, miner_id, kind, gpu, seconds, model, created_at FROM miner_orders"
    )
    op.drop_table("miner_orders")


def _capabilities() -> None:
    """Unavailable models were called withheld."""
    connection = op.get_bind()
    rename = sa.text("UPDATE miners SET capabilities = :capabilities WHERE miner_id = :miner_id")
    for miner_id, stored in connection.execute(sa.text("SELECT miner_id, capabilities FROM miners")).all():
        capabilities = json.loads(stored)
        for service in capabilities.get("services", {}).values():
            if "withheld" in service:
                service["unavailable_models"] = service.pop("withheld")
        shown = json.dumps(capabilities, separators=(",", ":"))
        connection.execute(rename, {"capabilities": shown, "miner_id": miner_id})


def _money() -> None:
    for table, columns in (("transactions", ("held", "paid", "fee")), ("postings", ("amount",))):
        with op.batch_alter_table(table) as amounts:
            amounts.create_check_constraint(
                f"ck_{table}_bounds", " AND ".join(f"{column} {BOUNDS}" for column in columns)
            )
    with op.batch_alter_table("balances") as balances:
        balances.add_column(sa.Column("part", sa.BigInteger(), nullable=False, server_default="0"))
        balances.drop_constraint("pk_balances", type_="primary")
        balances.create_primary_key("pk_balances", ["ledger_account", "part"])
        balances.create_check_constraint("ck_balances_bounds", f"amount {BOUNDS}")
    index("balances_recent", "balances", "part", "part >= 16")


def _files() -> None:
    add("artifact_owners", "file_name:255?")
    add("job_artifacts", "file_name:255?")
    add("artifacts", "blob:200?")
    index("artifacts_blob", "artifacts", "blob", unique=True)
    add("uploads", "turn:int=0")
    create("removed_blobs", "blob:200", "blob")
    create(
        "upload_segments", "upload_id:64 start:big size:big blob:200", "upload_id start", upload_id="uploads"
    )
    index("upload_segments_blob", "upload_segments", "blob", unique=True)
    create(
        "direct_uploads",
        "upload_id:64 owner:64 job_id:64? fence:int? size:big sha256:64? media_type:text file_name:255? blob:200 multipart_id:text? "
        "part_size:big etags:text state:16 checked_until:float? expires_at:float",
        "upload_id",
    )
    index("direct_uploads_blob", "direct_uploads", "blob", unique=True)
    index("direct_uploads_expires_at", "direct_uploads", "expires_at")
    index("direct_uploads_job_id", "direct_uploads", "job_id")
    index("direct_uploads_unfinished", "direct_uploads", "owner", "state <> 'stored'")
    create(
        "browser_sessions",
        "session_id:64 sha256:64 created_at:float expires_at:float",
        "session_id",
        unique("browser_sessions", "sha256"),
    )
    index("browser_sessions_expires_at", "browser_sessions", "expires_at")
    create(
        "browser_session_keys",
        "session_id:64 key_id:64 own:bool",
        "session_id key_id",
        session_id="browser_sessions",
        key_id="api_keys",
    )
    index("browser_session_keys_key_id", "browser_session_keys", "key_id")
    _outputs()


def _outputs() -> None:
    """Outputs belonged to their miners. Only runs of renderings could resume from what was stored."""
    create(
        "job_checkpoints",
        "job_id:64 name:255 artifact_id:80 media_type:text extra:text",
        "job_id name",
        artifact_id="artifacts",
        job_id="jobs",
    )
    index("job_checkpoints_artifact_id", "job_checkpoints", "artifact_id")
    op.execute(
        "INSERT INTO job_checkpoints (job_id, name, artifact_id, media_type, extra) "
        "SELECT k.job_id, k.name, k.artifact_id, k.media_type, k.extra FROM kept_outputs AS k "
        "JOIN jobs ON jobs.job_id = k.job_id WHERE jobs.service = 'blender_rendering'"
    )
    op.drop_table("kept_outputs")
    create(
        "run_outputs",
        "job_id:64 artifact_id:80 miner_id:64 fence:int media_type:text",
        "job_id artifact_id",
        job_id="jobs",
        artifact_id="artifacts",
    )
    index("run_outputs_miner_id", "run_outputs", "miner_id")
    index("run_outputs_artifact_id", "run_outputs", "artifact_id")
    # A miner's outputs are those of all jobs that it runs, because it is unknown which job each belongs to.
    op.execute(
        "INSERT INTO run_outputs (job_id, artifact_id, miner_id, fence, media_type) "
        "SELECT j.job_id, o.artifact_id, o.owner, j.fence, o.media_type FROM jobs j "
        "JOIN artifact_owners o ON o.owner = j.lease_miner_id "
        "WHERE NOT EXISTS (SELECT 1 FROM job_artifacts a WHERE a.artifact_id = o.artifact_id AND a.direction = 'output')"
    )
    op.execute(
        "INSERT INTO artifact_owners (artifact_id, owner, media_type) "
        "SELECT a.artifact_id, j.account_id, MIN(a.media_type) FROM ("
        "SELECT job_id, artifact_id, media_type FROM job_artifacts WHERE direction = 'output' "
        "UNION ALL SELECT job_id, artifact_id, media_type FROM job_checkpoints) a "
        "JOIN jobs j ON j.job_id = a.job_id WHERE NOT EXISTS (SELECT 1 FROM artifact_owners o "
        "WHERE o.artifact_id = a.artifact_id AND o.owner = j.account_id) GROUP BY a.artifact_id, j.account_id"
    )
    op.execute("DELETE FROM artifact_owners WHERE owner IN (SELECT miner_id FROM miners)")
    op.execute("DELETE FROM stored_bytes")
    op.execute(
        "INSERT INTO stored_bytes (owner, size) SELECT o.owner, SUM(a.size) FROM artifact_owners o "
        "JOIN artifacts a ON a.artifact_id = o.artifact_id GROUP BY o.owner"
    )


def _history() -> None:
    create(
        "history",
        "start:big submitted:big=0 completed:big=0 failed:big=0 cancelled:big=0 credited:big=0 debited:big=0 paid:big=0 fees:big=0 "
        "waiting:int? running:int? online:int? part:int=0",
        "start part",
    )
    _count("jobs", "created_at", "1 = 1", submitted="1")
    for state in ("completed", "failed", "cancelled"):
        _count("jobs", "finished_at", f"state = '{state}'", **{state: "1"})
    _count("transactions", "created_at", "kind = 'credit'", credited="paid")
    _count("transactions", "settled_at", "kind = 'payment' AND status = 'settled'", paid="paid", fees="fee")


def _count(table: str, time: str, condition: str, **columns: str) -> None:
    names = ", ".join(columns)
    sums = ", ".join(f"SUM({column})" for column in columns.values())
    added = ", ".join(f"{name} = history.{name} + excluded.{name}" for name in columns)
    op.execute(
        f"INSERT INTO history (start, {names}) "  # noqa: S608 - all parts are constants of this module
        f"SELECT CAST({time} AS BIGINT) / {BUCKET} * {BUCKET}, {sums} FROM {table} WHERE {condition} AND {time} IS NOT NULL "
        f"GROUP BY 1 ON CONFLICT (start, part) DO UPDATE SET {added}"
    )


def _audits() -> None:
    create(
        "audits",
        "audit_id:64 root:64 kind:16 job_id:64 account_id:64 miner_id:64 fence:int service:64 model:text engine:text status:16 evidence:text? "
        "canary_id:64? audit_job_id:64? asked:int=0 auditor_id:64? opinion:16? verdict:16? distances:text={} limits:text={} position:text='' "
        "reason:text='' created_at:float decided_at:float? settled_at:float? probability:float? enforced:int=0 forfeited:big=0 charged:big=0 "
        "salt:32=''",
        "audit_id",
        job_id="jobs",
    )
    index("audits_root", "audits", "root audit_id")
    index("audits_job", "audits", "job_id")
    index("audits_miner", "audits", "miner_id audit_id")
    index("audits_open", "audits", "status audit_id", "decided_at IS NULL")
    index("audits_unsettled", "audits", "decided_at", "decided_at IS NOT NULL AND settled_at IS NULL")
    index("audits_failed", "audits", "miner_id service model", "verdict = 'fail'")
    create(
        "audit_proofs",
        "miner_id:64 role:16 service:64 model:text engine:text passes:int checked:int failed:int canaries_checked:int canaries_failed:int",
        "miner_id role service model",
    )
    create(
        "canaries",
        "canary_id:64 account_id:64 job_id:64 spec:text results:text note:text submitted:int=0 created_at:float due_at:float? deleted_at:float?",
        "canary_id",
        account_id="accounts",
        job_id="jobs",
    )


def _payouts() -> None:
    create(
        "payout_addresses",
        "miner_id:64 sequence:big adapter:32 currency:16 address:text envelope:text created_at:float effective_at:float revoked_at:float?",
        "miner_id sequence",
        miner_id="miners",
    )
    create(
        "payout_batches",
        "batch_id:64 adapter:32 currency:16 decimals:int rate:64 state:16 cut_off:float minimum:big count:int amount:big note:text manifest:text? "
        "created_at:float created_by:64 approved_at:float? approved_by:64? finished_at:float? cancelled_by:64? last_error:text?",
        "batch_id",
    )
    index("payout_batches_open", "payout_batches", "batch_id", "finished_at IS NULL")
    create(
        "payout_transfers",
        "transfer_id:64 batch_id:64 adapter:32 source:200 nonce:big? state:16 content:bytes reference:text adapter_state:text attempts:int "
        "failures:int next_call_at:float? last_error:text? created_at:float sent_at:float? finished_at:float?",
        "transfer_id",
        unique("payout_transfers", "adapter source nonce", "nonce"),
        batch_id="payout_batches",
    )
    index("payout_transfers_batch_id", "payout_transfers", "batch_id")
    index("payout_transfers_due", "payout_transfers", "next_call_at", "next_call_at IS NOT NULL")
    create(
        "payouts",
        "payout_id:64 batch_id:64 position:int miner_id:64 tx_id:64 address:text amount:big sent_amount:64 salt:32 state:16 transfer_id:64? "
        "waiting_for:text? handed_in:text? reference:text? reason:text? created_at:float finished_at:float?",
        "payout_id",
        unique("payouts", "tx_id"),
        unique("payouts", "batch_id miner_id", "batch_miner"),
        unique("payouts", "batch_id position", "position"),
        batch_id="payout_batches",
        miner_id="miners",
        tx_id="transactions",
        transfer_id="payout_transfers",
    )
    index("payouts_transfer_id", "payouts", "transfer_id")
    index("payouts_miner", "payouts", "miner_id payout_id")
    index("payouts_open", "payouts", "batch_id position", "finished_at IS NULL")
    create(
        "deposits",
        "source:32 external_id:200 account_id:64 tx_id:64 amount:big currency:16 external_amount:64 rate:64 note:text created_at:float",
        "source external_id",
        account_id="accounts",
        tx_id="transactions",
    )
    index("deposits_account_id", "deposits", "account_id")
