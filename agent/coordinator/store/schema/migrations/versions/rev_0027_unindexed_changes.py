"""An index that changes of recent numbers of jobs do not touch, so that PostgreSQL need not add to it with each of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace the index by one whose condition names no column that changes."""
    op.drop_index("ix_recent_job_counts_queued", table_name="recent_job_counts")
    submitted = sa.text("state = 'submitted'")
    op.create_index(
        "ix_recent_job_counts_submitted",
        "recent_job_counts",
        ["service", "account_id"],
        unique=False,
        sqlite_where=submitted,
        postgresql_where=submitted,
    )
