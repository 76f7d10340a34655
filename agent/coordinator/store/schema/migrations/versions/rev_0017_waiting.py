"""Why jobs wait: features that a job needs, the notice to its client, and services that pause on a miner."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, and count what a miner could not perform by service."""
    op.add_column("jobs", sa.Column("needs", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("notified_at", sa.Float(), nullable=True))
    unnotified = sa.text("state = 'submitted' AND missing_files IS NULL AND notified_at IS NULL")
    op.create_index(
        "ix_jobs_not_notified",
        "jobs",
        ["created_at"],
        unique=False,
        sqlite_where=unnotified,
        postgresql_where=unnotified,
    )
    # The primary key changes, so the table is created again. Its counts are those of the last hour.
    op.drop_index(op.f("ix_miner_releases_pause_until"), table_name="miner_releases")
    op.drop_table("miner_releases")
    op.create_table(
        "miner_releases",
        sa.Column("miner_id", sa.String(length=64), nullable=False),
        sa.Column("service", sa.String(length=64), server_default="", nullable=False),
        sa.Column("count", sa.Float(), nullable=False),
        sa.Column("counted_at", sa.Float(), nullable=False),
        sa.Column("pause_until", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["miner_id"], ["miners.miner_id"], name=op.f("fk_miner_releases_miner_id")),
        sa.PrimaryKeyConstraint("miner_id", "service", name=op.f("pk_miner_releases")),
    )
    op.create_index(op.f("ix_miner_releases_pause_until"), "miner_releases", ["pause_until"], unique=False)
