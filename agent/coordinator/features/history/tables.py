"""The history of jobs, money, miners and GPUs, for charts."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, Text

from agent.coordinator.store.schema.tables._metadata import metadata

# Rows for each five minutes in which something happened; transactions that run at the same time change different parts. `start` is in seconds since the epoch. The first eight columns count what
# happened, money in units of 1e-8; the others are the latest sample of the queue and of the miners, NULL without one.
history = Table(
    "history",
    metadata,
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("part", Integer, primary_key=True, autoincrement=False, server_default="0"),
    Column("submitted", BigInteger, nullable=False, server_default="0"),
    Column("completed", BigInteger, nullable=False, server_default="0"),
    Column("failed", BigInteger, nullable=False, server_default="0"),
    Column("cancelled", BigInteger, nullable=False, server_default="0"),
    Column("credited", BigInteger, nullable=False, server_default="0"),
    Column("debited", BigInteger, nullable=False, server_default="0"),
    Column("paid", BigInteger, nullable=False, server_default="0"),
    Column("fees", BigInteger, nullable=False, server_default="0"),
    Column("waiting", Integer, nullable=True),
    Column("running", Integer, nullable=True),
    Column("online", Integer, nullable=True),
)

# What a miner reported about its GPUs, at most once in each interval of the last day. `start` is the interval's, in seconds since
# the epoch; `gpus` is JSON: objects with the fields of `GpuSample`.
gpu_samples = Table(
    "gpu_samples",
    metadata,
    Column("miner_id", ForeignKey("miners.miner_id"), primary_key=True),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("gpus", Text, nullable=False),
    Index("ix_gpu_samples_start", "start", "miner_id"),
)
