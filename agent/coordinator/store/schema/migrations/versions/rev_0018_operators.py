"""What operators need: the record of enrolment tokens, removed miners, miners' faults, and a history of jobs and money."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

COUNTED: Final = ("submitted", "completed", "failed", "cancelled", "credited", "debited", "paid", "fees")
SAMPLED: Final = ("waiting", "running", "online")
BUCKET: Final = 300


def upgrade() -> None:
    """Add columns, an index and a table, and derive the history of jobs and money from what is stored."""
    op.add_column("enrolments", sa.Column("uses", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("enrolments", sa.Column("note", sa.Text(), nullable=False, server_default=""))
    op.add_column("enrolments", sa.Column("created_by", sa.String(length=64), nullable=True))
    op.add_column("enrolments", sa.Column("used_at", sa.Float(), nullable=True))
    op.add_column("enrolments", sa.Column("revoked_at", sa.Float(), nullable=True))
    op.execute("UPDATE enrolments SET uses = uses_left WHERE uses_left > 1")
    op.add_column("miners", sa.Column("removed_at", sa.Float(), nullable=True))
    op.add_column("miners", sa.Column("enrolment_id", sa.String(length=64), nullable=True))
    op.create_index(
        "ix_miners_enrolment",
        "miners",
        ["enrolment_id"],
        unique=False,
        sqlite_where=sa.text("enrolment_id IS NOT NULL"),
        postgresql_where=sa.text("enrolment_id IS NOT NULL"),
    )
    faults = sa.text("outcome IN ('retried', 'expired')")
    op.create_index(
        "ix_runs_faults",
        "runs",
        ["miner_id", "ended_at"],
        unique=False,
        sqlite_where=faults,
        postgresql_where=faults,
    )
    _history()


def _history() -> None:
    op.create_table(
        "history",
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False, server_default="0") for name in COUNTED),
        *(sa.Column(name, sa.Integer(), nullable=True) for name in SAMPLED),
        sa.PrimaryKeyConstraint("start", name=op.f("pk_history")),
    )
    _count("jobs", "created_at", "1 = 1", submitted="1")
    for state in ("completed", "failed", "cancelled"):
        _count("jobs", "finished_at", f"state = '{state}'", **{state: "1"})
    _count("transactions", "created_at", "kind = 'credit'", credited="paid")
    _count("transactions", "settled_at", "kind = 'payment' AND status = 'settled'", paid="paid", fees="fee")


def _count(table: str, time: str, condition: str, **columns: str) -> None:
    names = ", ".join(columns)
    sums = ", ".join(f"SUM({column})" for column in columns.values())
    added = ", ".join(f"{name} = history.{name} + excluded.{name}" for name in columns)
    op.execute(
        f"INSERT INTO history (start, {names}) "  # noqa: S608 - all parts are constants of this module
        f"SELECT CAST({time} AS BIGINT) / {BUCKET} * {BUCKET}, {sums} FROM {table} WHERE {condition} AND {time} IS NOT NULL "
        f"GROUP BY 1 ON CONFLICT (start) DO UPDATE SET {added}"
    )
