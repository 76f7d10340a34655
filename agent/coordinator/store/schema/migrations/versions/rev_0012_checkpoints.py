"""The files from which a later run resumes are checkpoints; only services that declare them have any."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move the frames of renderings to the new table. Runs of other services could not resume from their files."""
    op.create_table(
        "job_checkpoints",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("artifact_id", sa.String(length=80), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("extra", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifacts.artifact_id"], name=op.f("fk_job_checkpoints_artifact_id")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.job_id"], name=op.f("fk_job_checkpoints_job_id")),
        sa.PrimaryKeyConstraint("job_id", "name", name=op.f("pk_job_checkpoints")),
    )
    op.create_index(op.f("ix_job_checkpoints_artifact_id"), "job_checkpoints", ["artifact_id"], unique=False)
    op.execute(
        "INSERT INTO job_checkpoints (job_id, name, artifact_id, media_type, extra) "
        "SELECT k.job_id, k.name, k.artifact_id, k.media_type, k.extra FROM kept_outputs AS k "
        "JOIN jobs ON jobs.job_id = k.job_id WHERE jobs.service = 'blender_rendering'"
    )
    op.drop_table("kept_outputs")
