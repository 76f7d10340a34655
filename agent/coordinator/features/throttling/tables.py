"""Tallies of leases that miners handed back, and of failures that clients caused."""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, String, Table

from agent.coordinator.store.schema.tables._metadata import metadata

# Decaying count of leases that a miner has handed back, and the time until which it therefore gets no jobs. With a service: of runs
# of that service that the miner could not perform, and the time until which it gets no jobs of that service.
miner_releases = Table(
    "miner_releases",
    metadata,
    Column("miner_id", ForeignKey("miners.miner_id"), primary_key=True),
    Column("service", String(64), primary_key=True, server_default=""),
    Column("count", Float, nullable=False),
    Column("counted_at", Float, nullable=False),
    Column("pause_until", Float, nullable=False, index=True),
)

# Decaying count of failures that an account has caused.
client_failures = Table(
    "client_failures",
    metadata,
    Column("account_id", ForeignKey("accounts.account_id"), primary_key=True),
    Column("count", Float, nullable=False, index=True),
    Column("counted_at", Float, nullable=False),
)
