"""Outputs that a run hands over before it ends."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
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
