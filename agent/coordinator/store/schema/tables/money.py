"""Credits, holds, payments and refunds."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    String,
    Table,
    Text,
)

from agent.coordinator.store.schema.tables._metadata import metadata, where
from agent.core.market.ledger import MAX_UNITS


def _within_bounds(table: str, *columns: str) -> CheckConstraint:
    """Return a check that keeps amounts in the range of exact sums, so that an overflow fails instead of becoming a float."""
    bounds = " AND ".join(f"{column} BETWEEN {-MAX_UNITS} AND {MAX_UNITS}" for column in columns)
    return CheckConstraint(bounds, name=f"ck_{table}_bounds")


# Transactions: a credit, or the payment of one job with the held amount and its division.
transactions = Table(
    "transactions",
    metadata,
    Column("tx_id", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("account_id", ForeignKey("accounts.account_id"), nullable=False),
    Column("miner_id", String(64), nullable=True),
    Column("job_id", ForeignKey("jobs.job_id"), nullable=True, unique=True),
    Column("held", BigInteger, nullable=False),
    Column("paid", BigInteger, nullable=False),
    Column("fee", BigInteger, nullable=False),
    Column("note", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("settled_at", Float, nullable=True),
    _within_bounds("transactions", "held", "paid", "fee"),
    Index("ix_transactions_account", "account_id", "tx_id"),
    Index("ix_transactions_miner", "miner_id", "tx_id", **where("miner_id IS NOT NULL")),
)

# The same in double entry. Each transaction has one or two entries (hold and settlement), each of which sums to zero.
postings = Table(
    "postings",
    metadata,
    Column("tx_id", ForeignKey("transactions.tx_id"), primary_key=True),
    Column("entry", String(16), primary_key=True),
    Column("ledger_account", String(80), primary_key=True),
    Column("amount", BigInteger, nullable=False),
    _within_bounds("postings", "amount"),
)

# The first part of recent changes that may exist: of balances and of `job_counts`, on PostgreSQL (store/recent.py).
recent_parts = Table(
    "recent_parts",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("first", BigInteger, nullable=False),
)

# The balance of an account is the sum of its parts. Below 16, only the operator's fees, which every settlement changes, have more than
# one. Higher ones are recent changes on PostgreSQL (`changed_balances.fold`).
balances = Table(
    "balances",
    metadata,
    Column("ledger_account", String(80), primary_key=True),
    Column("part", BigInteger, primary_key=True, autoincrement=False, server_default="0"),
    Column("amount", BigInteger, nullable=False),
    _within_bounds("balances", "amount"),
    Index("ix_balances_recent", "part", **where("part >= 16")),
)
