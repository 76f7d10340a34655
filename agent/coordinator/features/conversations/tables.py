"""Stored responses, conversations and their items. Times are seconds since the epoch, sizes are bytes."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, String, Table, Text

from agent.coordinator.store.schema.tables._metadata import metadata

# The id is that of the job. `input` has the items of the request as JSON, `answer` what the API has answered, or with what it began.
stored_responses = Table(
    "stored_responses",
    metadata,
    Column("response_id", String(64), primary_key=True),
    Column("account_id", ForeignKey("accounts.account_id"), nullable=False),
    Column("conversation_id", String(64), nullable=True),
    Column("previous_id", String(64), nullable=True),
    Column("created_at", Float, nullable=False),
    Column("finished", Boolean, nullable=False),
    Column("input", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Index("ix_stored_responses_account", "account_id", "size"),
    Index("ix_stored_responses_conversation", "conversation_id", "finished"),
    Index("ix_stored_responses_created", "created_at", "response_id"),
)

# `metadata` is the client's, as JSON. `changed_at` is when an item was last added or removed. `size` is that of its items.
conversations = Table(
    "conversations",
    metadata,
    Column("conversation_id", String(64), primary_key=True),
    Column("account_id", ForeignKey("accounts.account_id"), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("changed_at", Float, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Index("ix_conversations_account", "account_id", "size"),
    Index("ix_conversations_changed", "changed_at", "conversation_id"),
)

conversation_items = Table(
    "conversation_items",
    metadata,
    Column("conversation_id", ForeignKey("conversations.conversation_id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("item_id", String(200), nullable=False),
    Column("body", Text, nullable=False),
)
