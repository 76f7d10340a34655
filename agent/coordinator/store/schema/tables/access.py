"""Accounts, their keys, miners, and what both use only once."""

from __future__ import annotations

from sqlalchemy import (
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

from agent.coordinator.store.schema.tables._metadata import metadata, where

accounts = Table(
    "accounts",
    metadata,
    Column("account_id", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at", Float, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", String(64), primary_key=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("role", String(16), nullable=False),
    Column("account_id", ForeignKey("accounts.account_id"), nullable=True),
    Column("miner_id", String(64), nullable=True),
    Column("name", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("revoked_at", Float, nullable=True),
    Index("ix_api_keys_account", "account_id", "key_id"),
)

challenges = Table(
    "challenges",
    metadata,
    Column("nonce", String(64), primary_key=True),
    Column("expires_at", Float, nullable=False, index=True),
)

# The first answer to each request with an Idempotency-Key, and the digest of that request.
idempotency = Table(
    "idempotency",
    metadata,
    Column("account_id", ForeignKey("accounts.account_id"), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("request_sha256", String(64), nullable=False),
    Column("answer", Text, nullable=False),
    Column("created_at", Float, nullable=False, index=True),
)

enrolments = Table(
    "enrolments",
    metadata,
    Column("enrolment_id", String(64), primary_key=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("uses_left", Integer, nullable=False),
    Column("uses", Integer, nullable=False, server_default="1"),
    Column("note", Text, nullable=False, server_default=""),
    # Whose machines join with it, which then form one fleet; NULL for machines that stay by themselves.
    Column("owner", String(100), nullable=True),
    # The administrator's key that created it; NULL if the agent did, for its own miner.
    Column("created_by", String(64), nullable=True),
    # When a miner has last enrolled with it.
    Column("used_at", Float, nullable=True),
    Column("revoked_at", Float, nullable=True),
)

miners = Table(
    "miners",
    metadata,
    Column("miner_id", String(64), primary_key=True),
    Column("public_key", LargeBinary(32), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("session", Integer, nullable=False),
    Column("session_sha256", String(64), nullable=False, unique=True),
    Column("capabilities", Text, nullable=False),
    Column("telemetry", Text, nullable=False),
    Column("paused", Text, nullable=True),
    Column("registered_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
    Column("agent_version", String(200), nullable=True),
    # JSON of the newest heartbeat: how its time was used, and its downloads.
    Column("activity", Text, nullable=True),
    # JSON: by service, the runners with their versions that it has registered, the newest last.
    Column("runners", Text, nullable=False, server_default="{}"),
    # When and why an operator excluded it; NULL if it is not excluded.
    Column("excluded_at", Float, nullable=True),
    Column("excluded_reason", Text, nullable=True),
    # When an operator removed it; NULL unless it is removed. The row stays for its receipts, statistics and earnings.
    Column("removed_at", Float, nullable=True),
    # The token with which it has enrolled last.
    Column("enrolment_id", String(64), nullable=True),
    Index("ix_miners_enrolment", "enrolment_id", **where("enrolment_id IS NOT NULL")),
)
