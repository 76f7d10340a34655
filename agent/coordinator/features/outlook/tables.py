"""The hours in which machines were online, to say what an hour earns."""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Integer, Table

from agent.coordinator.store.schema.tables._metadata import metadata

# For how many seconds of a UTC day (days since the epoch) a machine was online and accepted jobs.
online_days = Table(
    "online_days",
    metadata,
    Column("miner_id", ForeignKey("miners.miner_id"), primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("seconds", Float, nullable=False),
)
