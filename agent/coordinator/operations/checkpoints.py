"""Checkpoints of running jobs as clients see them."""

from __future__ import annotations

from typing import Any

from agent.coordinator.operations.context import Context
from agent.coordinator.store import checkpoints
from agent.coordinator.store.checkpoints import Checkpoint
from agent.coordinator.store.jobs import JobRecord
from runners.api import Checkpoints


async def outputs_so_far(context: Context, record: JobRecord) -> list[dict[str, Any]]:
    """Return the data of the `output` events of a job so far, the newest of each name, for late subscribers."""
    declared = declared_by(context, record)
    if declared is None or not declared.outputs:
        return []
    by_job = await context.database.read(checkpoints.of_jobs, [record.job_id])
    return [published(record.job_id, item, visible=True) for item in by_job.get(record.job_id, [])]


def declared_by(context: Context, record: JobRecord) -> Checkpoints | None:
    """Return the checkpoints that the job's service declares."""
    definition = context.catalogue.services.get(record.service)
    return None if definition is None else definition.checkpoints


def published(job_id: str, checkpoint: Checkpoint, *, visible: bool) -> dict[str, Any]:
    """Return the event data for a client: a finished output, or only that another miner can resume from here."""
    if not visible:
        return {"name": checkpoint.name, "size": checkpoint.size, "job_id": job_id, "kind": "checkpoint"}
    url = f"/v1/artifacts/{checkpoint.artifact_id}"
    return {**checkpoints.on_the_wire(checkpoint), "url": url, "job_id": job_id, "kind": "output"}
