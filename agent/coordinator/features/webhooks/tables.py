"""Messages about jobs, where clients want them, and the secrets that sign them."""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
)

from agent.coordinator.store.schema.tables._metadata import metadata, where

# The secrets that sign an account's messages. Unlike keys, they must be stored in full.
webhook_secrets = Table(
    "webhook_secrets",
    metadata,
    Column("account_id", ForeignKey("accounts.account_id"), primary_key=True),
    Column("secret", String(100), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("previous", String(100), nullable=True),
    Column("previous_until", Float, nullable=True),
)

# Where clients want messages about their jobs.
job_webhooks = Table(
    "job_webhooks",
    metadata,
    Column("job_id", ForeignKey("jobs.job_id"), primary_key=True),
    Column("url", Text, nullable=False),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("webhook_id", String(64), primary_key=True),
    Column("job_id", ForeignKey("jobs.job_id"), nullable=False, index=True),
    Column("account_id", ForeignKey("accounts.account_id"), nullable=False),
    Column("url", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("type", String(32), nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", Float, nullable=True),
    Column("last_attempt_at", Float, nullable=True),
    Column("last_status", Integer, nullable=True),
    Column("last_error", Text, nullable=True),
    Column("finished_at", Float, nullable=True),
    Index("ix_webhook_deliveries_due", "next_attempt_at", "account_id", "lane", **where("state = 'pending'")),
    Index("ix_webhook_deliveries_lane", "lane", **where("state = 'pending'")),
    Index("ix_webhook_deliveries_finished", "finished_at", **where("finished_at IS NOT NULL")),
)

# URLs that answered 410. Jobs that were submitted before that send them no more messages.
gone_webhooks = Table(
    "gone_webhooks",
    metadata,
    Column("account_id", ForeignKey("accounts.account_id"), primary_key=True),
    Column("url_sha256", String(64), primary_key=True),
    Column("gone_at", Float, nullable=False, index=True),
)
