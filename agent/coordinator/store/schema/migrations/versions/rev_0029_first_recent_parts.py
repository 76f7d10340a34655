"""Numbers of recent parts that do not begin again, and where their readers begin; three indexes less for each job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Older replicas add up all parts, and update recent numbers by the columns of their key, in any order."""
    op.create_table(
        "recent_parts",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_recent_parts")),
    )
    op.create_table(
        "recent_work",
        sa.Column("work_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("part", sa.BigInteger(), nullable=False),
        sa.Column("miner_id", sa.String(length=64), nullable=False),
        sa.Column("account_id", sa.String(length=64), nullable=False),
        sa.Column("completed", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.Column("client_failed", sa.BigInteger(), nullable=False),
        sa.Column("refused", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("paid", sa.BigInteger(), nullable=False),
        sa.Column("earned", sa.BigInteger(), nullable=False),
        sa.Column("success", sa.Integer(), nullable=True),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("service", sa.String(length=64), nullable=True),
        sa.Column("model", sa.String(length=128), nullable=True),
        sa.Column("run_seconds", sa.Float(), nullable=True),
        sa.Column("done_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("work_id", name=op.f("pk_recent_work")),
    )
    op.create_index("ix_recent_work_part", "recent_work", ["part"], unique=False)
    op.create_index("ix_recent_work_miner", "recent_work", ["miner_id", "part"], unique=False)
    with op.batch_alter_table("balances") as changed:
        changed.alter_column(
            "part",
            existing_type=sa.Integer(),
            type_=sa.BigInteger(),
            existing_nullable=False,
            existing_server_default=sa.text("0"),
        )
    op.drop_index("ix_recent_job_counts_submitted", table_name="recent_job_counts")
    with op.batch_alter_table("recent_job_counts") as changed:
        changed.drop_constraint(op.f("pk_recent_job_counts"), type_="primary")
        changed.create_primary_key(op.f("pk_recent_job_counts"), ["account_id", "part", "service", "state"])
    submitted = sa.text("state = 'submitted'")
    op.create_index(
        "ix_recent_job_counts_submitted",
        "recent_job_counts",
        ["service", "part", "account_id"],
        unique=False,
        sqlite_where=submitted,
        postgresql_where=submitted,
    )
    op.create_index("ix_recent_job_counts_part", "recent_job_counts", ["part"], unique=False)
    op.drop_index("ix_jobs_running_by_account", table_name="jobs")
    op.drop_index("ix_jobs_running_by_miner", table_name="jobs")
    op.drop_index("ix_jobs_lease_expiry", table_name="jobs")
