"""The labels of jobs."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, String, Table

from agent.coordinator.store.schema.tables._metadata import metadata

job_labels = Table(
    "job_labels",
    metadata,
    Column("job_id", ForeignKey("jobs.job_id"), primary_key=True),
    Column("key", String(63), primary_key=True),
    Column("value", String(255), nullable=False),
    Column("account_id", String(64), nullable=False),
    Index("ix_job_labels_account", "account_id", "key", "value", "job_id"),
    Index("ix_job_labels_value", "key", "value", "job_id"),
)
