"""Audits of finished jobs, and jobs with known answers."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two columns and three tables."""
    op.add_column("jobs", sa.Column("restrictions", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("audit_hold", sa.BigInteger(), nullable=True))
    _audits()
    op.create_table(
        "audit_proofs",
        sa.Column("miner_id", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("service", sa.String(length=64), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.Column("passes", sa.Integer(), nullable=False),
        sa.Column("checked", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("canaries_checked", sa.Integer(), nullable=False),
        sa.Column("canaries_failed", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("miner_id", "role", "service", "model", name=op.f("pk_audit_proofs")),
    )
    op.create_table(
        "canaries",
        sa.Column("canary_id", sa.String(length=64), nullable=False),
        sa.Column("account_id", sa.String(length=64), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("results", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("submitted", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("due_at", sa.Float(), nullable=True),
        sa.Column("deleted_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_canaries_account_id")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.job_id"], name=op.f("fk_canaries_job_id")),
        sa.PrimaryKeyConstraint("canary_id", name=op.f("pk_canaries")),
    )


def _audits() -> None:
    op.create_table(
        "audits",
        sa.Column("audit_id", sa.String(length=64), nullable=False),
        sa.Column("root", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("account_id", sa.String(length=64), nullable=False),
        sa.Column("miner_id", sa.String(length=64), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("service", sa.String(length=64), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=True),
        sa.Column("canary_id", sa.String(length=64), nullable=True),
        sa.Column("audit_job_id", sa.String(length=64), nullable=True),
        sa.Column("asked", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("auditor_id", sa.String(length=64), nullable=True),
        sa.Column("opinion", sa.String(length=16), nullable=True),
        sa.Column("verdict", sa.String(length=16), nullable=True),
        sa.Column("distances", sa.Text(), nullable=False, server_default="{}"),
        sa.Column("limits", sa.Text(), nullable=False, server_default="{}"),
        sa.Column("position", sa.Text(), nullable=False, server_default=""),
        sa.Column("reason", sa.Text(), nullable=False, server_default=""),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("decided_at", sa.Float(), nullable=True),
        sa.Column("settled_at", sa.Float(), nullable=True),
        sa.Column("probability", sa.Float(), nullable=True),
        sa.Column("enforced", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("forfeited", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("charged", sa.BigInteger(), nullable=False, server_default="0"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.job_id"], name=op.f("fk_audits_job_id")),
        sa.PrimaryKeyConstraint("audit_id", name=op.f("pk_audits")),
    )
    _index("root", "root", "audit_id")
    _index("job", "job_id")
    _index("miner", "miner_id", "audit_id")
    _index("open", "status", "audit_id", only="decided_at IS NULL")
    _index("unsettled", "decided_at", only="decided_at IS NOT NULL AND settled_at IS NULL")
    _index("failed", "miner_id", "service", "model", only="verdict = 'fail'")


def _index(name: str, *columns: str, only: str | None = None) -> None:
    conditions: dict[str, Any] = (
        {} if only is None else {f"{engine}_where": sa.text(only) for engine in ("sqlite", "postgresql")}
    )
    op.create_index(f"ix_audits_{name}", "audits", list(columns), unique=False, **conditions)
