"""The logs of jobs."""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Integer, Table, Text

from agent.coordinator.store.schema.tables._metadata import metadata

# Lines that the runs of jobs wrote: the parts of a run, in order. `entries` is a JSON list of [time, source, text], `size` what they
# count towards the limit.
job_logs = Table(
    "job_logs",
    metadata,
    Column("job_id", ForeignKey("jobs.job_id"), primary_key=True),
    Column("fence", Integer, primary_key=True),
    Column("part", Integer, primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("entries", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("truncated", Integer, nullable=False),
    Column("created_at", Float, nullable=False, index=True),
)
