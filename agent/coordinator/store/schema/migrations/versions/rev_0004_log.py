"""The log: leaves, tiles, checkpoints and cosignatures. Existing receipts and settlements become the first leaves."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

from agent.core.values.quantities import format_time, from_units
from aitbc.leaves.settlement import Settlement
from aitbc.log import receipt_leaf
from aitbc.merkle import leaf_hash
from aitbc.receipts import receipt_id

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_COUNTED = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables, and queue existing receipts and settlements for the log."""
    queue = op.create_table(
        "log_queue",
        sa.Column("entry_id", _COUNTED, nullable=False),
        sa.Column("reference", sa.String(length=80), nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("content", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("pk_log_queue")),
    )
    op.create_table(
        "log_leaves",
        sa.Column("leaf_index", _COUNTED, autoincrement=False, nullable=False),
        sa.Column("reference", sa.String(length=80), nullable=False),
        sa.Column("content", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("leaf_index", name=op.f("pk_log_leaves")),
        sa.UniqueConstraint("reference", name=op.f("uq_log_leaves_reference")),
    )
    op.create_table(
        "log_tiles",
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tile_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "tile_index", name=op.f("pk_log_tiles")),
    )
    _checkpoints()
    _queue_receipts(queue)
    _queue_settlements(queue)


def _checkpoints() -> None:
    op.create_table(
        "log_checkpoints",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("root", sa.LargeBinary(length=32), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("cosigned", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_log_checkpoints")),
    )
    op.create_index(
        "ix_log_checkpoints_cosigned",
        "log_checkpoints",
        ["size"],
        unique=False,
        sqlite_where=sa.text("cosigned > 0"),
        postgresql_where=sa.text("cosigned > 0"),
    )
    op.create_table(
        "log_cosignatures",
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("witness", sa.String(length=400), nullable=False),
        sa.Column("timestamp", sa.BigInteger(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["size"], ["log_checkpoints.size"], name=op.f("fk_log_cosignatures_size")),
        sa.PrimaryKeyConstraint("size", "witness", name=op.f("pk_log_cosignatures")),
    )


def _queue_receipts(queue: sa.Table) -> None:
    rows = op.get_bind().execute(
        sa.text("SELECT receipt_id, receipt FROM receipts ORDER BY created_at, receipt_id")
    )
    for batch in rows.partitions(1000):
        leaves = [(row.receipt_id, receipt_leaf(json.loads(row.receipt)["envelope"])) for row in batch]
        op.bulk_insert(
            queue,
            [
                {"reference": reference, "leaf_hash": leaf_hash(leaf), "content": None}
                for reference, leaf in leaves
            ],
        )


def _queue_settlements(queue: sa.Table) -> None:
    rows = op.get_bind().execute(
        sa.text(
            "SELECT t.tx_id, t.job_id, t.miner_id, t.held, t.paid, t.fee, t.settled_at, j.state FROM transactions t "
            "JOIN jobs j ON j.job_id = t.job_id WHERE t.kind = 'payment' AND t.status <> 'pending' ORDER BY t.settled_at, t.tx_id"
        )
    )
    for batch in rows.partitions(1000):
        leaves = [(row.tx_id, _settlement(row).to_leaf()) for row in batch]
        op.bulk_insert(
            queue,
            [
                {"reference": reference, "leaf_hash": leaf_hash(leaf), "content": leaf.decode()}
                for reference, leaf in leaves
            ],
        )


def _settlement(row: sa.Row[tuple[object, ...]]) -> Settlement:
    return Settlement(
        job_id=row.job_id,
        receipt_id=receipt_id(row.job_id) if row.state == "completed" else None,
        miner_id=row.miner_id if row.paid else None,
        outcome=row.state,
        held=from_units(row.held),
        paid=from_units(row.paid),
        fee=from_units(row.fee),
        refunded=from_units(row.held - row.paid),
        settled_at=format_time(row.settled_at),
    )
