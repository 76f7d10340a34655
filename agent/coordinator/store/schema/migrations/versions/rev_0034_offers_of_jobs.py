"""The offers to which jobs were given are in a table of their feature. A job's row has the offer's miner and price only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move the column."""
    op.create_table(
        "offer_jobs",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("offer_id", sa.String(length=64), nullable=False),
        sa.Column("account_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.job_id"], name=op.f("fk_offer_jobs_job_id")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_offer_jobs")),
    )
    op.create_index("ix_offer_jobs_offer", "offer_jobs", ["offer_id", "job_id", "account_id"])
    op.execute(
        "INSERT INTO offer_jobs (job_id, offer_id, account_id) SELECT job_id, offer_id, account_id FROM jobs "
        "WHERE offer_id IS NOT NULL AND deleted_at IS NULL"
    )
    for index in ("ix_jobs_offer", "ix_jobs_bound"):
        op.drop_index(index, "jobs")
    op.drop_column("jobs", "offer_id")
    waits = sa.text("state = 'submitted' AND agreed_price IS NOT NULL")
    op.create_index("ix_jobs_agreed", "jobs", ["job_id"], sqlite_where=waits, postgresql_where=waits)
