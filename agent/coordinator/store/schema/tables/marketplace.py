"""Offers, and what is known of the miners that make them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
)

from agent.coordinator.store.schema.tables._metadata import metadata, where

# Prices of miners for jobs of a type or name. `kind` is the type in the spelling in which it is compared; `service` is set for
# standing offers, which follow from a miner's configured prices and have neither a limit nor an end.
offers = Table(
    "offers",
    metadata,
    Column("offer_id", String(64), primary_key=True),
    Column("miner_id", ForeignKey("miners.miner_id"), nullable=False),
    Column("job_type", String(64), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("service", String(64), nullable=True),
    Column("price", BigInteger, nullable=False),
    Column("max_jobs", Integer, nullable=True),
    Column("jobs_left", Integer, nullable=True),
    Column("min_gpu_memory", BigInteger, nullable=False),
    Column("min_cpu_millis", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=True),
    Column("state", String(16), nullable=False),
    CheckConstraint("jobs_left >= 0 AND jobs_left <= max_jobs", name="ck_offers_jobs_left"),
    UniqueConstraint("miner_id", "service", name="uq_offers_standing"),
    Index("ix_offers_miner", "miner_id", "offer_id"),
    Index("ix_offers_open_of_miner", "miner_id", **where("state = 'active'")),
    Index("ix_offers_cheapest", "price", "offer_id", **where("state = 'active'")),
    Index("ix_offers_cheapest_of_kind", "kind", "price", "offer_id", **where("state = 'active'")),
    Index("ix_offers_expiry", "expires_at", **where("state = 'active'")),
)

# What came of each miner's work so far, and how much speaks for and against it (core/market/reputation.py).
miner_stats = Table(
    "miner_stats",
    metadata,
    Column("miner_id", ForeignKey("miners.miner_id"), primary_key=True),
    Column("completed", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    # Of the completed jobs together, from being given to the miner to the result.
    Column("seconds", Float, nullable=False),
    Column("paid", BigInteger, nullable=False),
    Column("earned", BigInteger, nullable=False),
    Column("good", Float, nullable=False),
    Column("bad", Float, nullable=False),
    Column("evidence_at", Float, nullable=False),
    # Runs that ended by the client's fault, as the miner said; they are no part of the reputation.
    Column("client_failed", BigInteger, nullable=False, server_default="0"),
)

# Leases that a miner has handed back, fading with time, and until when it gets no jobs for that.
miner_releases = Table(
    "miner_releases",
    metadata,
    Column("miner_id", ForeignKey("miners.miner_id"), primary_key=True),
    Column("count", Float, nullable=False),
    Column("counted_at", Float, nullable=False),
    Column("pause_until", Float, nullable=False, index=True),
)

# Failures that an account has caused, fading with time.
client_failures = Table(
    "client_failures",
    metadata,
    Column("account_id", ForeignKey("accounts.account_id"), primary_key=True),
    Column("count", Float, nullable=False, index=True),
    Column("counted_at", Float, nullable=False),
)

# What a miner earned on each UTC day (days since the epoch), and with how many jobs.
miner_days = Table(
    "miner_days",
    metadata,
    Column("miner_id", ForeignKey("miners.miner_id"), primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("jobs", BigInteger, nullable=False),
    Column("earned", BigInteger, nullable=False),
)

# The same evidence for each client apart; a miner's is the sum of its clients'.
client_evidence = Table(
    "client_evidence",
    metadata,
    Column("miner_id", ForeignKey("miners.miner_id"), primary_key=True),
    Column("account_id", ForeignKey("accounts.account_id"), primary_key=True),
    Column("good", Float, nullable=False),
    Column("bad", Float, nullable=False),
    Column("evidence_at", Float, nullable=False),
)
