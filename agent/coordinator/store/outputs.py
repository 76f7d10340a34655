"""Outputs that a run hands over before it ends: the client has them at once, and a later run goes on from them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select

from agent.coordinator.store.tables import artifacts, kept_outputs


@dataclass(frozen=True, slots=True)
class KeptOutput:
    """An output of a job. `size` is bytes, `extra` JSON text."""

    artifact_id: str
    name: str
    media_type: str
    size: int
    extra: str


def on_the_wire(output: KeptOutput) -> dict[str, Any]:
    """The output as docs/miner-protocol.md shows it."""
    return {
        "artifact_id": output.artifact_id,
        "name": output.name,
        "media_type": output.media_type,
        "size": output.size,
        "extra": json.loads(output.extra),
    }


def keep(connection: Connection, job_id: str, outputs: Sequence[KeptOutput]) -> None:
    """Keep outputs with different names; one of a name that is kept already takes its place."""
    names = [output.name for output in outputs]
    connection.execute(
        delete(kept_outputs).where(kept_outputs.c.job_id == job_id, kept_outputs.c.name.in_(names))
    )
    rows = [
        {
            "job_id": job_id, "name": output.name, "artifact_id": output.artifact_id, "media_type": output.media_type,
            "extra": output.extra,
        }
        for output in outputs
    ]  # fmt: skip
    connection.execute(insert(kept_outputs), rows)


def count(connection: Connection, job_id: str) -> int:
    """How many outputs of the job are kept."""
    return connection.execute(select(func.count()).where(kept_outputs.c.job_id == job_id)).scalar_one()


def kept_of(connection: Connection, job_ids: Sequence[str]) -> dict[str, list[KeptOutput]]:
    """The kept outputs of jobs by job, in the order of their names; a job without any is left out."""
    if not job_ids:  # as nearly always when jobs are claimed
        return {}
    query = (
        select(
            kept_outputs.c.job_id,
            kept_outputs.c.artifact_id,
            kept_outputs.c.name,
            kept_outputs.c.media_type,
            artifacts.c.size,
            kept_outputs.c.extra,
        )
        .join(artifacts, artifacts.c.artifact_id == kept_outputs.c.artifact_id)
        .where(kept_outputs.c.job_id.in_(job_ids))
        .order_by(kept_outputs.c.job_id, kept_outputs.c.name)
    )
    kept: defaultdict[str, list[KeptOutput]] = defaultdict(list)
    for job_id, *values in connection.execute(query):
        kept[job_id].append(KeptOutput(*values))
    return dict(kept)
