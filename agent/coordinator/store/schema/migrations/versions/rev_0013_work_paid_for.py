"""Costs of jobs, bounds of all amounts, habits of miners and clients, and excluded miners."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

MAX_UNITS: Final = 9 * 10**18
AMOUNTS: Final = {
    "transactions": ("held", "paid", "fee"),
    "postings": ("amount",),
    "balances": ("amount",),
}


def upgrade() -> None:
    """Add columns, tables and checks. Existing jobs get no cost, and existing miners no habits."""
    op.add_column("jobs", sa.Column("cost", sa.BigInteger(), nullable=True))
    op.add_column("miners", sa.Column("runners", sa.Text(), nullable=False, server_default="{}"))
    op.add_column("miners", sa.Column("excluded_at", sa.Float(), nullable=True))
    op.add_column("miners", sa.Column("excluded_reason", sa.Text(), nullable=True))
    op.add_column(
        "miner_stats", sa.Column("client_failed", sa.BigInteger(), nullable=False, server_default="0")
    )
    for table, columns in AMOUNTS.items():
        bounds = " AND ".join(f"{column} BETWEEN {-MAX_UNITS} AND {MAX_UNITS}" for column in columns)
        with op.batch_alter_table(table) as changed:
            changed.create_check_constraint(f"ck_{table}_bounds", bounds)
    _habits("miner_releases", "miner_id", "miners", sa.Column("pause_until", sa.Float(), nullable=False))
    _habits("client_failures", "account_id", "accounts")
    op.create_index("ix_miner_releases_pause_until", "miner_releases", ["pause_until"], unique=False)
    op.create_index("ix_client_failures_count", "client_failures", ["count"], unique=False)


def _habits(table: str, owner: str, owners: str, *more: sa.Column[float]) -> None:
    op.create_table(
        table,
        sa.Column(owner, sa.String(length=64), nullable=False),
        sa.Column("count", sa.Float(), nullable=False),
        sa.Column("counted_at", sa.Float(), nullable=False),
        *more,
        sa.ForeignKeyConstraint([owner], [f"{owners}.{owner}"], name=op.f(f"fk_{table}_{owner}")),
        sa.PrimaryKeyConstraint(owner, name=op.f(f"pk_{table}")),
    )
