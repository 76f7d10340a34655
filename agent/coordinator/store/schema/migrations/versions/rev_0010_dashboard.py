"""Data for the dashboard: login links, orders to miners, miners' activity, earnings by day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add tables and columns, and compute the earnings from existing payments."""
    _logins()
    _orders()
    op.add_column("miners", sa.Column("agent_version", sa.String(length=200), nullable=True))
    op.add_column("miners", sa.Column("activity", sa.Text(), nullable=True))
    op.create_index("ix_api_keys_account", "api_keys", ["account_id", "key_id"], unique=False)
    _earnings()


def _logins() -> None:
    op.create_table(
        "logins",
        sa.Column("login_id", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("account_id", sa.String(length=64), nullable=True),
        sa.Column("miner_id", sa.String(length=64), nullable=True),
        sa.Column("admin", sa.Boolean(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.account_id"], name=op.f("fk_logins_account_id")),
        sa.ForeignKeyConstraint(["miner_id"], ["miners.miner_id"], name=op.f("fk_logins_miner_id")),
        sa.PrimaryKeyConstraint("login_id", name=op.f("pk_logins")),
        sa.UniqueConstraint("sha256", name=op.f("uq_logins_sha256")),
    )
    op.create_index(op.f("ix_logins_expires_at"), "logins", ["expires_at"], unique=False)


def _orders() -> None:
    op.create_table(
        "miner_orders",
        sa.Column("order_id", sa.String(length=64), nullable=False),
        sa.Column("miner_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("gpu", sa.String(length=200), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("model", sa.String(length=200), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["miner_id"], ["miners.miner_id"], name=op.f("fk_miner_orders_miner_id")),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_miner_orders")),
    )
    op.create_index("ix_miner_orders_miner", "miner_orders", ["miner_id", "order_id"], unique=False)


def _earnings() -> None:
    op.create_table(
        "miner_days",
        sa.Column("miner_id", sa.String(length=64), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("jobs", sa.BigInteger(), nullable=False),
        sa.Column("earned", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["miner_id"], ["miners.miner_id"], name=op.f("fk_miner_days_miner_id")),
        sa.PrimaryKeyConstraint("miner_id", "day", name=op.f("pk_miner_days")),
    )
    # Added up here, because database engines truncate decimals differently.
    payments = op.get_bind().execute(
        sa.text(
            "SELECT t.miner_id, t.settled_at, t.paid - t.fee FROM transactions t JOIN miners m ON m.miner_id = t.miner_id "
            "WHERE t.settled_at IS NOT NULL AND t.paid > 0"
        )
    )
    days: dict[tuple[str, int], tuple[int, int]] = {}
    for miner_id, settled_at, earned in payments:
        jobs, before = days.get((miner_id, int(settled_at // 86_400)), (0, 0))
        days[miner_id, int(settled_at // 86_400)] = (jobs + 1, before + earned)
    table = sa.table("miner_days", *(sa.column(name) for name in ("miner_id", "day", "jobs", "earned")))
    rows = [
        {"miner_id": miner_id, "day": day, "jobs": jobs, "earned": earned}
        for (miner_id, day), (jobs, earned) in days.items()
    ]
    if rows:
        op.bulk_insert(table, rows)
