"""Recent changes of the numbers of jobs, in rows of their own; numbers of runs that do not end."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a table, and widen a column."""
    op.create_table(
        "recent_job_counts",
        sa.Column("account_id", sa.String(length=64), nullable=False),
        sa.Column("service", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("part", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("change", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.account_id"], name=op.f("fk_recent_job_counts_account_id")
        ),
        sa.PrimaryKeyConstraint("account_id", "service", "state", "part", name=op.f("pk_recent_job_counts")),
    )
    queued = sa.text("state = 'submitted' AND change > 0")
    op.create_index(
        "ix_recent_job_counts_queued",
        "recent_job_counts",
        ["service", "account_id"],
        unique=False,
        sqlite_where=queued,
        postgresql_where=queued,
    )
    with op.batch_alter_table("durations") as changed:
        changed.alter_column(
            "count", existing_type=sa.Integer(), type_=sa.BigInteger(), existing_nullable=False
        )
