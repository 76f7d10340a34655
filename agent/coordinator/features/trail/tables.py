"""The trail of what administrators have done."""

from __future__ import annotations

from sqlalchemy import Column, Float, String, Table, Text

from agent.coordinator.store.schema.tables._metadata import metadata

# A row for each call of an administrator that changed something. The key's name is that of the time of the call. `details` is JSON: the short fields of the request.
# Rows are never changed, and deleted by nobody.
admin_trail = Table(
    "admin_trail",
    metadata,
    Column("entry_id", String(64), primary_key=True),
    Column("at", Float, nullable=False),
    Column("key_id", String(64), nullable=False),
    Column("key_name", String(100), nullable=False),
    Column("action", String(200), nullable=False),
    Column("method", String(10), nullable=False),
    Column("path", Text, nullable=False),
    Column("details", Text, nullable=False),
)
