"""Artifacts, uploads in progress, and the jobs that they belong to."""

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
    Text,
)

from agent.coordinator.store.schema.tables._metadata import HAS_BLOB, metadata

artifacts = Table(
    "artifacts",
    metadata,
    Column("artifact_id", String(80), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("created_at", Float, nullable=False),
    # The name of the blob with its bytes. NULL: the artifact's id, which named the files of earlier versions.
    Column("blob", String(200), nullable=True, info={HAS_BLOB: ""}),
    Index("ix_artifacts_blob", "blob", unique=True),
)

# Blobs that no row refers to, until they are removed from the store.
removed_blobs = Table(
    "removed_blobs",
    metadata,
    Column("blob", String(200), primary_key=True),
)

# The account that an artifact belongs to (`owner` is its id), and the media type and the file name that it gave. Outputs belong to their job's account.
artifact_owners = Table(
    "artifact_owners",
    metadata,
    Column("artifact_id", ForeignKey("artifacts.artifact_id"), primary_key=True),
    Column("owner", String(64), primary_key=True),
    Column("media_type", Text, nullable=False),
    Column("file_name", String(255), nullable=True),
    Index("ix_artifact_owners_owner", "owner", "artifact_id"),
)

# Bytes of the artifacts that each owner has stored, updated with every change of `artifact_owners`, and of its jobs' large specifications.
stored_bytes = Table(
    "stored_bytes",
    metadata,
    Column("owner", String(64), primary_key=True),
    Column("size", BigInteger, nullable=False),
)

job_artifacts = Table(
    "job_artifacts",
    metadata,
    Column("job_id", ForeignKey("jobs.job_id"), primary_key=True),
    Column("artifact_id", ForeignKey("artifacts.artifact_id"), primary_key=True),
    Column("direction", String(8), primary_key=True),
    # The field of an input, the file name of an output.
    Column("name", String(255), primary_key=True),
    Column("media_type", Text, nullable=False),
    # The file name of an input, as it was when the job was submitted.
    Column("file_name", String(255), nullable=True),
    Index("ix_job_artifacts_artifact_id", "artifact_id"),
)

# Files that miners have stored for jobs that have not ended, each with the lease that it was stored under.
run_outputs = Table(
    "run_outputs",
    metadata,
    Column("job_id", ForeignKey("jobs.job_id"), primary_key=True),
    Column("artifact_id", ForeignKey("artifacts.artifact_id"), primary_key=True),
    Column("miner_id", String(64), nullable=False, index=True),
    Column("fence", Integer, nullable=False),
    Column("media_type", Text, nullable=False),
    Index("ix_run_outputs_artifact_id", "artifact_id"),
)

# Files from which a later run can resume; `extra` is JSON. Those in the results are job_artifacts as well.
job_checkpoints = Table(
    "job_checkpoints",
    metadata,
    Column("job_id", ForeignKey("jobs.job_id"), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("artifact_id", ForeignKey("artifacts.artifact_id"), nullable=False, index=True),
    Column("media_type", Text, nullable=False),
    Column("extra", Text, nullable=False),
)
