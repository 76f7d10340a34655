"""Offers, and the jobs that were given to them."""

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

# Prices of miners for jobs of a type or name. `kind` is the type in the spelling for comparison; `service` is set for standing
# offers, which are derived from a miner's configured prices and have neither a limit nor an end.
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

# The offer to which a job was given. The job's row has the offer's miner and its price.
offer_jobs = Table(
    "offer_jobs",
    metadata,
    Column("job_id", ForeignKey("jobs.job_id"), primary_key=True),
    Column("offer_id", String(64), nullable=False),
    Column("account_id", String(64), nullable=False),
    Index("ix_offer_jobs_offer", "offer_id", "job_id", "account_id"),
)
