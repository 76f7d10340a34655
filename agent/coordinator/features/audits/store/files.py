"""The files of audit jobs and canaries: those of the job that they repeat or check."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from agent.coordinator.store import locks
from agent.coordinator.store.schema.tables import job_artifacts


def copy_inputs(connection: Connection, source: str, target: str, *, with_outputs: bool) -> None:
    """Link the inputs of a job to another one; `with_outputs`, also its outputs, as inputs named `audit:` and their names."""
    directions = ["input", "output"] if with_outputs else ["input"]
    query = select(job_artifacts).where(
        job_artifacts.c.job_id == source, job_artifacts.c.direction.in_(directions)
    )
    rows = [
        {
            **row,
            "job_id": target,
            "direction": "input",
            "name": f"audit:{row['name']}" if row["direction"] == "output" else row["name"],
        }
        for row in connection.execute(query).mappings()
    ]
    # A file must not be deleted between the reading and the copying of its reference.
    locks.artifacts(connection, {row["artifact_id"] for row in rows})
    if rows:
        connection.execute(insert(job_artifacts), rows)
