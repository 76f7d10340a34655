"""Payouts of miners' earnings, payout addresses, and deposits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add tables."""
    op.create_table(
        "payout_addresses",
        sa.Column("miner_id", sa.String(length=64), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("adapter", sa.String(length=32), nullable=False),
        sa.Column("currency", sa.String(length=16), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("effective_at", sa.Float(), nullable=False),
        sa.Column("revoked_at", sa.Float(), nullable=True),
        _reference("payout_addresses", "miner_id", "miners.miner_id"),
        sa.PrimaryKeyConstraint("miner_id", "sequence", name=op.f("pk_payout_addresses")),
    )
    _batches()
    _transfers()
    _payouts()
    _deposits()


def _reference(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [target], name=op.f(f"fk_{table}_{column}"))


def _create_index(name: str, table: str, columns: list[str], condition: str | None = None) -> None:
    where = None if condition is None else sa.text(condition)
    op.create_index(op.f(name), table, columns, sqlite_where=where, postgresql_where=where)


def _batches() -> None:
    op.create_table(
        "payout_batches",
        sa.Column("batch_id", sa.String(length=64), nullable=False),
        sa.Column("adapter", sa.String(length=32), nullable=False),
        sa.Column("currency", sa.String(length=16), nullable=False),
        sa.Column("decimals", sa.Integer(), nullable=False),
        sa.Column("rate", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("cut_off", sa.Float(), nullable=False),
        sa.Column("minimum", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=False),
        sa.Column("approved_at", sa.Float(), nullable=True),
        sa.Column("approved_by", sa.String(length=64), nullable=True),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.Column("cancelled_by", sa.String(length=64), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("batch_id", name=op.f("pk_payout_batches")),
    )
    _create_index("ix_payout_batches_open", "payout_batches", ["batch_id"], "finished_at IS NULL")


def _transfers() -> None:
    op.create_table(
        "payout_transfers",
        sa.Column("transfer_id", sa.String(length=64), nullable=False),
        sa.Column("batch_id", sa.String(length=64), nullable=False),
        sa.Column("adapter", sa.String(length=32), nullable=False),
        sa.Column("source", sa.String(length=200), nullable=False),
        sa.Column("nonce", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("adapter_state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("next_call_at", sa.Float(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("sent_at", sa.Float(), nullable=True),
        sa.Column("finished_at", sa.Float(), nullable=True),
        _reference("payout_transfers", "batch_id", "payout_batches.batch_id"),
        sa.PrimaryKeyConstraint("transfer_id", name=op.f("pk_payout_transfers")),
        sa.UniqueConstraint("adapter", "source", "nonce", name="uq_payout_transfers_nonce"),
    )
    _create_index("ix_payout_transfers_batch_id", "payout_transfers", ["batch_id"])
    _create_index("ix_payout_transfers_due", "payout_transfers", ["next_call_at"], "next_call_at IS NOT NULL")


def _payouts() -> None:
    op.create_table(
        "payouts",
        sa.Column("payout_id", sa.String(length=64), nullable=False),
        sa.Column("batch_id", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("miner_id", sa.String(length=64), nullable=False),
        sa.Column("tx_id", sa.String(length=64), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("sent_amount", sa.String(length=64), nullable=False),
        sa.Column("salt", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("transfer_id", sa.String(length=64), nullable=True),
        sa.Column("waiting_for", sa.Text(), nullable=True),
        sa.Column("handed_in", sa.Text(), nullable=True),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("finished_at", sa.Float(), nullable=True),
        _reference("payouts", "batch_id", "payout_batches.batch_id"),
        _reference("payouts", "miner_id", "miners.miner_id"),
        _reference("payouts", "tx_id", "transactions.tx_id"),
        _reference("payouts", "transfer_id", "payout_transfers.transfer_id"),
        sa.PrimaryKeyConstraint("payout_id", name=op.f("pk_payouts")),
        sa.UniqueConstraint("tx_id", name=op.f("uq_payouts_tx_id")),
        sa.UniqueConstraint("batch_id", "miner_id", name="uq_payouts_batch_miner"),
        sa.UniqueConstraint("batch_id", "position", name="uq_payouts_position"),
    )
    _create_index("ix_payouts_transfer_id", "payouts", ["transfer_id"])
    _create_index("ix_payouts_miner", "payouts", ["miner_id", "payout_id"])
    _create_index("ix_payouts_open", "payouts", ["batch_id", "position"], "finished_at IS NULL")


def _deposits() -> None:
    op.create_table(
        "deposits",
        sa.Column("source", sa.String(length=32), nullable=False),
        sa.Column("external_id", sa.String(length=200), nullable=False),
        sa.Column("account_id", sa.String(length=64), nullable=False),
        sa.Column("tx_id", sa.String(length=64), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=16), nullable=False),
        sa.Column("external_amount", sa.String(length=64), nullable=False),
        sa.Column("rate", sa.String(length=64), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        _reference("deposits", "account_id", "accounts.account_id"),
        _reference("deposits", "tx_id", "transactions.tx_id"),
        sa.PrimaryKeyConstraint("source", "external_id", name=op.f("pk_deposits")),
    )
    _create_index("ix_deposits_account_id", "deposits", ["account_id"])
