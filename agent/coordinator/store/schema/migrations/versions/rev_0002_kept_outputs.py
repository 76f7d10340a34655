"""Outputs that a run delivers before it ends, and an index of the models of waiting jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table and the index."""
    op.create_table(
        "kept_outputs",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("artifact_id", sa.String(length=80), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("extra", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifacts.artifact_id"], name=op.f("fk_kept_outputs_artifact_id")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.job_id"], name=op.f("fk_kept_outputs_job_id")),
        sa.PrimaryKeyConstraint("job_id", "name", name=op.f("pk_kept_outputs")),
    )
    op.create_index(op.f("ix_kept_outputs_artifact_id"), "kept_outputs", ["artifact_id"], unique=False)
    anybodys = (
        "state = 'submitted' AND missing_files IS NULL AND requested_miner_id IS NULL AND model IS NOT NULL"
    )
    op.create_index(
        "ix_jobs_waiting_for_models",
        "jobs",
        ["service", "model"],
        unique=False,
        sqlite_where=sa.text(anybodys),
        postgresql_where=sa.text(anybodys),
    )
