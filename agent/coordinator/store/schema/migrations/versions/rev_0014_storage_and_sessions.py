"""Outputs belong to their job's account, outputs of runs are counted, and browsers have sessions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables, and transfer outputs from miners to the accounts that they were made for."""
    _run_outputs()
    _sessions()
    _outputs_of_running_jobs()
    _outputs_of_accounts()


def _run_outputs() -> None:
    op.create_table(
        "run_outputs",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("artifact_id", sa.String(length=80), nullable=False),
        sa.Column("miner_id", sa.String(length=64), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.job_id"], name=op.f("fk_run_outputs_job_id")),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifacts.artifact_id"], name=op.f("fk_run_outputs_artifact_id")
        ),
        sa.PrimaryKeyConstraint("job_id", "artifact_id", name=op.f("pk_run_outputs")),
    )
    op.create_index(op.f("ix_run_outputs_miner_id"), "run_outputs", ["miner_id"], unique=False)
    op.create_index("ix_run_outputs_artifact_id", "run_outputs", ["artifact_id"], unique=False)


def _sessions() -> None:
    op.create_table(
        "browser_sessions",
        sa.Column("session_id", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_browser_sessions")),
        sa.UniqueConstraint("sha256", name=op.f("uq_browser_sessions_sha256")),
    )
    op.create_index(op.f("ix_browser_sessions_expires_at"), "browser_sessions", ["expires_at"], unique=False)
    op.create_table(
        "browser_session_keys",
        sa.Column("session_id", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("own", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"], ["browser_sessions.session_id"], name=op.f("fk_browser_session_keys_session_id")
        ),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.key_id"], name=op.f("fk_browser_session_keys_key_id")),
        sa.PrimaryKeyConstraint("session_id", "key_id", name=op.f("pk_browser_session_keys")),
    )
    op.create_index("ix_browser_session_keys_key_id", "browser_session_keys", ["key_id"], unique=False)


def _outputs_of_running_jobs() -> None:
    """Record a miner's outputs for all jobs that it runs, because it is unknown which job each belongs to."""
    op.execute(
        "INSERT INTO run_outputs (job_id, artifact_id, miner_id, fence, media_type) "
        "SELECT j.job_id, o.artifact_id, o.owner, j.fence, o.media_type FROM jobs j "
        "JOIN artifact_owners o ON o.owner = j.lease_miner_id "
        "WHERE NOT EXISTS (SELECT 1 FROM job_artifacts a WHERE a.artifact_id = o.artifact_id AND a.direction = 'output')"
    )


def _outputs_of_accounts() -> None:
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
