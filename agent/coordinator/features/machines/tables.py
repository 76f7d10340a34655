"""Commands for miners."""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Index, String, Table, Text

from agent.coordinator.store.schema.tables._metadata import metadata, where

# Commands of owners and operators: those that wait, and the newest ones of those that were executed.
miner_commands = Table(
    "miner_commands",
    metadata,
    Column("command_id", String(64), primary_key=True),
    Column("miner_id", ForeignKey("miners.miner_id"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("gpu", String(200), nullable=True),
    Column("seconds", Float, nullable=True),
    Column("model", String(200), nullable=True),
    # JSON: new and former values of the settings that it changes.
    Column("settings", Text, nullable=True),
    Column("given_by", String(120), nullable=False, server_default=""),
    Column("created_at", Float, nullable=False),
    Column("executed_at", Float, nullable=True),
    # JSON: the reasons for which the miner refused it.
    Column("refusal", Text, nullable=True),
    Index("ix_miner_commands_miner", "miner_id", "command_id"),
    Index(
        "ix_miner_commands_waiting",
        "miner_id",
        "command_id",
        **where("executed_at IS NULL"),
    ),
)
