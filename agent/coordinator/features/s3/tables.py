"""Uploads to the store that others make."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, String, Table, Text

from agent.coordinator.store.schema.tables._metadata import HAS_BLOB, metadata, where

# Files that clients and miners send to the store themselves. `owner` is an account, or the miner that holds the lease (`job_id`,
# `fence`). Without `multipart_id`, the file is one request. `etags` is a JSON object of the stored parts by their numbers.
direct_uploads = Table(
    "direct_uploads",
    metadata,
    Column("upload_id", String(64), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("job_id", String(64), nullable=True, index=True),
    Column("fence", Integer, nullable=True),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=True),
    Column("media_type", Text, nullable=False),
    Column("file_name", String(255), nullable=True),
    # The blob of a stored upload belongs to its artifact, if that still exists.
    Column("blob", String(200), nullable=False, info={HAS_BLOB: "state <> 'stored'"}),
    Column("multipart_id", Text, nullable=True),
    Column("part_size", BigInteger, nullable=False),
    Column("etags", Text, nullable=False),
    Column("state", String(16), nullable=False),
    # Until when a replica checks the digest. Another one starts again after that.
    Column("checked_until", Float, nullable=True),
    Column("expires_at", Float, nullable=False, index=True),
    Index("ix_direct_uploads_blob", "blob", unique=True),
    Index("ix_direct_uploads_unfinished", "owner", **where("state <> 'stored'")),
)
