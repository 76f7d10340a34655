"""The Merkle log of receipts and settlements."""

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
)

from agent.coordinator.store.schema.tables._metadata import COUNTED, metadata, where

# Leaves of the log that have no number yet. They are written with their subject and numbered in batches soon after.
log_queue = Table(
    "log_queue",
    metadata,
    Column("entry_id", COUNTED, primary_key=True),
    Column("reference", String(80), nullable=False),
    Column("leaf_hash", LargeBinary(32), nullable=False),
    Column("content", Text, nullable=True),
)

# Numbered leaves. `reference` is a receipt's or a settlement's id; `content` is a settlement's leaf, NULL for a receipt.
log_leaves = Table(
    "log_leaves",
    metadata,
    Column("leaf_index", COUNTED, primary_key=True, autoincrement=False),
    Column("reference", String(80), nullable=False, unique=True),
    Column("content", Text, nullable=True),
)

# The log's tree as tiles (https://c2sp.org/tlog-tiles): up to 256 concatenated hashes of one level.
log_tiles = Table(
    "log_tiles",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("tile_index", BigInteger, primary_key=True, autoincrement=False),
    Column("hashes", LargeBinary, nullable=False),
)

# Signed checkpoints. Of old ones, the last of each hour and those that witnesses have cosigned are stored.
log_checkpoints = Table(
    "log_checkpoints",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("root", LargeBinary(32), nullable=False),
    Column("note", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("cosigned", Integer, nullable=False),
    Index("ix_log_checkpoints_cosigned", "size", **where("cosigned > 0")),
)

log_cosignatures = Table(
    "log_cosignatures",
    metadata,
    Column("size", ForeignKey("log_checkpoints.size"), primary_key=True),
    Column("witness", String(400), primary_key=True),
    Column("timestamp", BigInteger, nullable=False),
    Column("line", Text, nullable=False),
)
