"""Balances and history in parts, so that transactions which run at the same time change different rows; numbers that do not end."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

MAX_UNITS: Final = 9 * 10**18


def upgrade() -> None:
    """Add the number of the part to both keys, and the order of their ids to leased jobs. Existing rows are the first part."""
    op.drop_index("ix_jobs_leased_by", "jobs")
    op.create_index(
        "ix_jobs_leased_by",
        "jobs",
        ["lease_miner_id", "job_id"],
        unique=False,
        sqlite_where=sa.text("lease_miner_id IS NOT NULL"),
        postgresql_where=sa.text("lease_miner_id IS NOT NULL"),
    )
    for table, key in (("balances", "ledger_account"), ("history", "start")):
        with op.batch_alter_table(table) as changed:
            changed.add_column(sa.Column("part", sa.Integer(), nullable=False, server_default="0"))
            changed.drop_constraint(f"pk_{table}", type_="primary")
            changed.create_primary_key(f"pk_{table}", [key, "part"])
            if table == "balances" and op.get_bind().dialect.name == "sqlite":
                # SQLite replaces the table, and the check of 0013 is lost with the old one.
                changed.create_check_constraint(
                    "ck_balances_bounds", f"amount BETWEEN {-MAX_UNITS} AND {MAX_UNITS}"
                )
