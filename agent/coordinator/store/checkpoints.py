"""Checkpoints: files that a run hands over before it ends, from which a later run of the job can resume."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select

from agent.coordinator.store.schema.tables import artifacts, job_checkpoints


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint of a job. `size` is in bytes, `extra` is JSON text."""

    artifact_id: str
    name: str
    media_type: str
    size: int
    extra: str


def on_the_wire(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the checkpoint as docs/reference/miner-protocol.md shows it."""
    return {
        "artifact_id": checkpoint.artifact_id,
        "name": checkpoint.name,
        "media_type": checkpoint.media_type,
        "size": checkpoint.size,
        "extra": json.loads(checkpoint.extra),
    }


def add(connection: Connection, job_id: str, checkpoints: Sequence[Checkpoint]) -> None:
    """Store checkpoints with different names; each replaces an older one of its name."""
    names = [checkpoint.name for checkpoint in checkpoints]
    connection.execute(
        delete(job_checkpoints).where(job_checkpoints.c.job_id == job_id, job_checkpoints.c.name.in_(names))
    )
    rows = [
        {
            "job_id": job_id, "name": checkpoint.name, "artifact_id": checkpoint.artifact_id,
            "media_type": checkpoint.media_type, "extra": checkpoint.extra,
        }
        for checkpoint in checkpoints
    ]  # fmt: skip
    connection.execute(insert(job_checkpoints), rows)


def totals(connection: Connection, job_id: str) -> tuple[int, int]:
    """Return how many checkpoints the job has, and their bytes together."""
    query = (
        select(func.count(), func.coalesce(func.sum(artifacts.c.size), 0))
        .select_from(job_checkpoints)
        .join(artifacts, artifacts.c.artifact_id == job_checkpoints.c.artifact_id)
        .where(job_checkpoints.c.job_id == job_id)
    )
    count, size = connection.execute(query).one()
    return int(count), int(size)


def of_jobs(connection: Connection, job_ids: Sequence[str]) -> dict[str, list[Checkpoint]]:
    """Return the checkpoints of jobs by job, in the order of their names; a job without any is left out."""
    # As nearly always when jobs are claimed: most have never run before.
    if not job_ids:
        return {}
    query = (
        select(
            job_checkpoints.c.job_id,
            job_checkpoints.c.artifact_id,
            job_checkpoints.c.name,
            job_checkpoints.c.media_type,
            artifacts.c.size,
            job_checkpoints.c.extra,
        )
        .join(artifacts, artifacts.c.artifact_id == job_checkpoints.c.artifact_id)
        .where(job_checkpoints.c.job_id.in_(job_ids))
        .order_by(job_checkpoints.c.job_id, job_checkpoints.c.name)
    )
    by_job: defaultdict[str, list[Checkpoint]] = defaultdict(list)
    for job_id, *values in connection.execute(query):
        by_job[job_id].append(Checkpoint(*values))
    return dict(by_job)
