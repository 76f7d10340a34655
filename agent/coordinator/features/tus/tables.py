"""Uploads in progress."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, String, Table, Text

from agent.coordinator.store.schema.tables._metadata import HAS_BLOB, metadata, where

# Resumable uploads. `turn` counts the requests that have written to it, of all replicas: only the newest may. `length` is NULL until the client announces it; `artifact_id` is set when all bytes are received, and
# `finished_at` when the artifact is stored.
uploads = Table(
    "uploads",
    metadata,
    Column("upload_id", String(64), primary_key=True),
    Column("account_id", ForeignKey("accounts.account_id"), nullable=False),
    Column("length", BigInteger, nullable=True),
    Column("received", BigInteger, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("artifact_id", String(80), nullable=True),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False, index=True),
    Column("finished_at", Float, nullable=True),
    Column("turn", Integer, nullable=False, server_default="0"),
    Index("ix_uploads_unfinished", "account_id", **where("finished_at IS NULL")),
)

# The received bytes of an unfinished upload in a bucket, in pieces that are blobs.
upload_segments = Table(
    "upload_segments",
    metadata,
    Column("upload_id", ForeignKey("uploads.upload_id"), primary_key=True),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    Column("blob", String(200), nullable=False, info={HAS_BLOB: ""}),
    Index("ix_upload_segments_blob", "blob", unique=True),
)
