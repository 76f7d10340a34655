"""Money in double entry, the feed of changes, and the number of jobs by state."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add tables and columns. Nothing is held for existing jobs."""
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("fee_ppm", sa.Integer(), nullable=False, server_default="0"))
        jobs.add_column(sa.Column("offer_id", sa.String(length=64), nullable=True))
        jobs.add_column(sa.Column("agreed_price", sa.BigInteger(), nullable=True))
    _numbers()
    _money()
    _feed()


def _numbers() -> None:
    op.create_table(
        "job_counts",
        sa.Column("account_id", sa.String(length=64), nullable=False),
        sa.Column("service", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.account_id"], name=op.f("fk_job_counts_account_id")
        ),
        sa.PrimaryKeyConstraint("account_id", "service", "state", name=op.f("pk_job_counts")),
    )
    op.execute(
        "INSERT INTO job_counts (account_id, service, state, count) "
        "SELECT account_id, service, state, COUNT(*) FROM jobs GROUP BY account_id, service, state"
    )


def _money() -> None:
    op.create_table(
        "transactions",
        sa.Column("tx_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("account_id", sa.String(length=64), nullable=False),
        sa.Column("miner_id", sa.String(length=64), nullable=True),
        sa.Column("job_id", sa.String(length=64), nullable=True),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.Column("paid", sa.BigInteger(), nullable=False),
        sa.Column("fee", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("settled_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.account_id"], name=op.f("fk_transactions_account_id")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.job_id"], name=op.f("fk_transactions_job_id")),
        sa.PrimaryKeyConstraint("tx_id", name=op.f("pk_transactions")),
        sa.UniqueConstraint("job_id", name=op.f("uq_transactions_job_id")),
    )
    op.create_index("ix_transactions_account", "transactions", ["account_id", "tx_id"], unique=False)
    op.create_index(
        "ix_transactions_miner",
        "transactions",
        ["miner_id", "tx_id"],
        unique=False,
        sqlite_where=sa.text("miner_id IS NOT NULL"),
        postgresql_where=sa.text("miner_id IS NOT NULL"),
    )
    op.create_table(
        "postings",
        sa.Column("tx_id", sa.String(length=64), nullable=False),
        sa.Column("entry", sa.String(length=16), nullable=False),
        sa.Column("ledger_account", sa.String(length=80), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tx_id"], ["transactions.tx_id"], name=op.f("fk_postings_tx_id")),
        sa.PrimaryKeyConstraint("tx_id", "entry", "ledger_account", name=op.f("pk_postings")),
    )
    op.create_table(
        "balances",
        sa.Column("ledger_account", sa.String(length=80), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("ledger_account", name=op.f("pk_balances")),
    )


def _feed() -> None:
    op.create_table(
        "events",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("account_id", sa.String(length=64), nullable=True),
        sa.Column("miner_id", sa.String(length=64), nullable=True),
        sa.Column("job_id", sa.String(length=64), nullable=True),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_account", "events", ["account_id", "seq"], unique=False)
    for column in ("miner_id", "job_id"):
        op.create_index(
            f"ix_events_{column.removesuffix('_id')}",
            "events",
            [column, "seq"],
            unique=False,
            sqlite_where=sa.text(f"{column} IS NOT NULL"),
            postgresql_where=sa.text(f"{column} IS NOT NULL"),
        )
