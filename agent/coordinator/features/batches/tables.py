"""Files and batches of OpenAI's API. The bytes of files are artifacts; those of an unfinished batch belong to the batch."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, String, Table, Text

from agent.coordinator.store.schema.tables._metadata import metadata, where

api_files = Table(
    "api_files",
    metadata,
    Column("file_id", String(64), primary_key=True),
    Column("account_id", ForeignKey("accounts.account_id"), nullable=False),
    Column("artifact_id", String(80), nullable=False),
    Column("name", Text, nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=True, index=True),
    Index("ix_api_files_account", "account_id", "file_id"),
)

# `turn` counts the workers that have begun with it, of all replicas: only the newest may write. `expiring` are the seconds that its files of
# results exist; `metadata` and `errors` are JSON; `prices` is the share of the price that its jobs cost, as in `jobs`.
batches = Table(
    "batches",
    metadata,
    Column("batch_id", String(64), primary_key=True),
    Column("account_id", ForeignKey("accounts.account_id"), nullable=False),
    Column("key_id", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("input_file_id", String(64), nullable=False),
    Column("input_artifact", String(80), nullable=False),
    Column("metadata", Text, nullable=True),
    Column("output_seconds", Float, nullable=True),
    Column("turn", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("completed", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("output_file_id", String(64), nullable=True),
    Column("error_file_id", String(64), nullable=True),
    Column("errors", Text, nullable=True),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    # JSON: when it entered each of its other states.
    Column("moments", Text, nullable=False),
    Column("ended_at", Float, nullable=True),
    Index("ix_batches_account", "account_id", "batch_id"),
    Index("ix_batches_unfinished", "batch_id", **where("ended_at IS NULL")),
    Index("ix_batches_ended", "ended_at"),
)

# Answers of an unfinished batch, in an artifact that belongs to it. `lines` is JSON: the numbers of their lines.
batch_parts = Table(
    "batch_parts",
    metadata,
    Column("batch_id", ForeignKey("batches.batch_id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("artifact_id", String(80), nullable=False),
    Column("lines", Text, nullable=False),
)
