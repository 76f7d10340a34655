"""Payouts of miners' earnings, the addresses that they go to, and deposits."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from agent.coordinator.store.schema.tables._metadata import metadata, where

# Payout addresses, one row for each accepted statement of a miner's identity key (`envelope`, DSSE). The address in force is that of
# the highest sequence whose `effective_at` has passed and which was not revoked before. All rows remain.
payout_addresses = Table(
    "payout_addresses",
    metadata,
    Column("miner_id", ForeignKey("miners.miner_id"), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("adapter", String(32), nullable=False),
    Column("currency", String(16), nullable=False),
    Column("address", Text, nullable=False),
    Column("envelope", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("effective_at", Float, nullable=False),
    Column("revoked_at", Float, nullable=True),
)

# Batches. `decimals`, `rate` and `rounding` turn the ledger's money into the currency; `manifest` is the leaf of the log, set on approval.
payout_batches = Table(
    "payout_batches",
    metadata,
    Column("batch_id", String(64), primary_key=True),
    Column("adapter", String(32), nullable=False),
    Column("currency", String(16), nullable=False),
    Column("decimals", Integer, nullable=False),
    Column("rate", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("cut_off", Float, nullable=False),
    Column("minimum", BigInteger, nullable=False),
    Column("count", Integer, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("note", Text, nullable=False),
    Column("manifest", Text, nullable=True),
    Column("created_at", Float, nullable=False),
    Column("created_by", String(64), nullable=False),
    Column("approved_at", Float, nullable=True),
    Column("approved_by", String(64), nullable=True),
    Column("finished_at", Float, nullable=True),
    Column("cancelled_by", String(64), nullable=True),
    Column("last_error", Text, nullable=True),
    Index("ix_payout_batches_open", "batch_id", **where("finished_at IS NULL")),
)

# What an adapter sends in one go: the bytes, stored before they are sent. Calls of the adapter are due at `next_call_at`.
payout_transfers = Table(
    "payout_transfers",
    metadata,
    Column("transfer_id", String(64), primary_key=True),
    Column("batch_id", ForeignKey("payout_batches.batch_id"), nullable=False, index=True),
    Column("adapter", String(32), nullable=False),
    Column("source", String(200), nullable=False),
    Column("nonce", BigInteger, nullable=True),
    Column("state", String(16), nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("reference", Text, nullable=False),
    Column("adapter_state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("next_call_at", Float, nullable=True),
    Column("last_error", Text, nullable=True),
    Column("created_at", Float, nullable=False),
    Column("sent_at", Float, nullable=True),
    Column("finished_at", Float, nullable=True),
    UniqueConstraint("adapter", "source", "nonce", name="uq_payout_transfers_nonce"),
    Index("ix_payout_transfers_due", "next_call_at", **where("next_call_at IS NOT NULL")),
)

# Payments of batches. `position` is the leaf's number in the manifest's tree; `amount` leaves the ledger, `sent_amount` is a decimal
# string in the batch's currency. `handed_in` is what the miner handed in for the adapter (JSON).
payouts = Table(
    "payouts",
    metadata,
    Column("payout_id", String(64), primary_key=True),
    Column("batch_id", ForeignKey("payout_batches.batch_id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("miner_id", ForeignKey("miners.miner_id"), nullable=False),
    Column("tx_id", ForeignKey("transactions.tx_id"), nullable=False, unique=True),
    Column("address", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("sent_amount", String(64), nullable=False),
    Column("salt", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("transfer_id", ForeignKey("payout_transfers.transfer_id"), nullable=True, index=True),
    Column("waiting_for", Text, nullable=True),
    Column("handed_in", Text, nullable=True),
    Column("reference", Text, nullable=True),
    Column("reason", Text, nullable=True),
    Column("created_at", Float, nullable=False),
    Column("finished_at", Float, nullable=True),
    UniqueConstraint("batch_id", "miner_id", name="uq_payouts_batch_miner"),
    UniqueConstraint("batch_id", "position", name="uq_payouts_position"),
    Index("ix_payouts_miner", "miner_id", "payout_id"),
    Index("ix_payouts_open", "batch_id", "position", **where("finished_at IS NULL")),
)

# Credits for money that arrived outside. `source` and `external_id` identify the incoming payment, so that it is credited once.
deposits = Table(
    "deposits",
    metadata,
    Column("source", String(32), primary_key=True),
    Column("external_id", String(200), primary_key=True),
    Column("account_id", ForeignKey("accounts.account_id"), nullable=False, index=True),
    Column("tx_id", ForeignKey("transactions.tx_id"), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", String(16), nullable=False),
    Column("external_amount", String(64), nullable=False),
    Column("rate", String(64), nullable=False),
    Column("note", Text, nullable=False),
    Column("created_at", Float, nullable=False),
)
