"""Statistics of miners, and the evidence for their reputations."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
)

from agent.coordinator.store.schema.tables._metadata import COUNTED, metadata

# Statistics of each miner's work, and the evidence for its reputation (`rules`).
miner_stats = Table(
    "miner_stats",
    metadata,
    Column("miner_id", ForeignKey("miners.miner_id"), primary_key=True),
    Column("completed", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    # Total time of the completed jobs, from the lease to the result.
    Column("seconds", Float, nullable=False),
    Column("paid", BigInteger, nullable=False),
    Column("earned", BigInteger, nullable=False),
    Column("good", Float, nullable=False),
    Column("bad", Float, nullable=False),
    Column("evidence_at", Float, nullable=False),
    # Runs that failed by the client's fault, as the miner reported. They do not count for the reputation.
    Column("client_failed", BigInteger, nullable=False, server_default="0"),
)

# Work that is not in `miner_stats`, `client_evidence`, `miner_days` and `durations` yet, on PostgreSQL (store/recent.py). `success` is 1,
# 0 or NULL; `service`, `model` and `run_seconds` are those of a completed run.
recent_work = Table(
    "recent_work",
    metadata,
    Column("work_id", COUNTED, primary_key=True),
    Column("part", BigInteger, nullable=False, index=True),
    Column("miner_id", String(64), nullable=False),
    Column("account_id", String(64), nullable=False),
    *(
        Column(name, BigInteger, nullable=False)
        for name in ("completed", "failed", "client_failed", "refused")
    ),
    Column("seconds", Float, nullable=False),
    Column("paid", BigInteger, nullable=False),
    Column("earned", BigInteger, nullable=False),
    Column("success", Integer, nullable=True),
    Column("weight", Float, nullable=False),
    Column("service", String(64), nullable=True),
    Column("model", String(128), nullable=True),
    Column("run_seconds", Float, nullable=True),
    Column("done_at", Float, nullable=False),
    Index("ix_recent_work_miner", "miner_id", "part"),
)

# A miner's earnings on each UTC day (days since the epoch), and the number of jobs.
miner_days = Table(
    "miner_days",
    metadata,
    Column("miner_id", ForeignKey("miners.miner_id"), primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("jobs", BigInteger, nullable=False),
    Column("earned", BigInteger, nullable=False),
)

# The evidence for each client separately; a miner's evidence is the sum of its clients'.
client_evidence = Table(
    "client_evidence",
    metadata,
    Column("miner_id", ForeignKey("miners.miner_id"), primary_key=True),
    Column("account_id", ForeignKey("accounts.account_id"), primary_key=True),
    Column("good", Float, nullable=False),
    Column("bad", Float, nullable=False),
    Column("evidence_at", Float, nullable=False),
)
