"""Who may ask: accounts, their keys, miners, and what both say once."""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from agent.coordinator.store.tables._metadata import metadata

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
)

challenges = Table(
    "challenges",
    metadata,
    Column("nonce", String(64), primary_key=True),
    Column("expires_at", Float, nullable=False, index=True),
)

# The first answer to each request that carried an Idempotency-Key, and what that request said.
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
)
