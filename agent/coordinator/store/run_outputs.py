"""Files that miners have stored for jobs that have not ended. Until then they count towards the job and the miner."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    not_,
    or_,
    select,
    update,
)

from agent.coordinator.store import artifacts as artifact_store
from agent.coordinator.store.artifacts import ArtifactRecord
from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.schema.tables import artifacts, job_checkpoints, jobs, run_outputs

_FINAL = ("completed", "failed", "cancelled")
_leases = Prepared(
    select(jobs.c.job_id, jobs.c.fence)
    .where(jobs.c.lease_miner_id == bindparam("key"))
    .order_by(jobs.c.job_id)
)


@dataclass(frozen=True, slots=True)
class StoredOutput:
    """A file that a run has stored. `media_type` is what the miner claims."""

    job_id: str
    artifact_id: str
    miner_id: str
    fence: int
    media_type: str


def has_lease(connection: Connection, job_id: str, miner_id: str, fence: int) -> bool:
    """Return whether the miner may still deliver this run: its lease is valid, or expired and the job was not claimed again."""
    query = select(jobs.c.job_id).where(
        jobs.c.job_id == job_id, jobs.c.lease_miner_id == miner_id, jobs.c.fence == fence
    )
    return connection.execute(query).first() is not None


def leases_of(connection: Connection, miner_id: str) -> list[tuple[str, int]]:
    """Return job ids and fences of the runs that the miner may still deliver, the oldest first."""
    return [(job_id, fence) for job_id, fence in _leases.rows(connection, {"key": miner_id})]


def add(connection: Connection, output: StoredOutput, size: int, now: float, blob: str | None = None) -> None:
    """Record a file that a run has stored, in `blob`. May be repeated. `size` is in bytes."""
    artifact_store.ensure(connection, output.artifact_id, size, now, blob)
    values = {"miner_id": output.miner_id, "fence": output.fence, "media_type": output.media_type}
    key = (run_outputs.c.job_id == output.job_id, run_outputs.c.artifact_id == output.artifact_id)
    if connection.execute(update(run_outputs).where(*key).values(values)).rowcount == 0:
        connection.execute(
            insert(run_outputs), {"job_id": output.job_id, "artifact_id": output.artifact_id, **values}
        )


def sizes_of(connection: Connection, job_id: str, artifact_ids: Collection[str]) -> dict[str, int]:
    """Return those of these artifacts that were stored for the job, with their sizes in bytes."""
    query = (
        select(artifacts.c.artifact_id, artifacts.c.size)
        .join(run_outputs, run_outputs.c.artifact_id == artifacts.c.artifact_id)
        .where(run_outputs.c.job_id == job_id, run_outputs.c.artifact_id.in_(list(artifact_ids)))
    )
    return dict(connection.execute(query).all())


def bytes_of_job(connection: Connection, job_id: str) -> int:
    """Return the bytes that are stored for a job that has not ended."""
    return _sum(connection, _sizes().where(run_outputs.c.job_id == job_id))


def bytes_of_miner(connection: Connection, miner_id: str) -> int:
    """Return the bytes that a miner has stored for jobs that have not ended."""
    return _sum(connection, _sizes().where(run_outputs.c.miner_id == miner_id))


def count_of_job(connection: Connection, job_id: str) -> int:
    """Return how many files are stored for a job that has not ended."""
    query = select(func.count()).select_from(run_outputs).where(run_outputs.c.job_id == job_id)
    return connection.execute(query).scalar_one()


def _sizes() -> Select[Any]:
    return select(func.coalesce(func.sum(artifacts.c.size), 0)).join(
        run_outputs, run_outputs.c.artifact_id == artifacts.c.artifact_id
    )


def _sum(connection: Connection, query: Select[Any]) -> int:
    return int(connection.execute(query).scalar_one())


def hand_over(
    connection: Connection, job_id: str, files: Collection[ArtifactRecord], account_id: str, now: float
) -> None:
    """Transfer the outputs of a completed job to its account."""
    for file in files:
        artifact_store.add(connection, file, account_id, now)
    stored = run_outputs.c.artifact_id.in_([file.artifact_id for file in files])
    connection.execute(delete(run_outputs).where(run_outputs.c.job_id == job_id, stored))


def settle_ended(
    connection: Connection, now: float, limit: int, *, visible_services: Collection[str]
) -> list[str]:
    """Delete the records of files that ended runs have stored. Return their artifacts, some of which may no longer exist.

    Checkpoints are retained until their job has ended. Then those of `visible_services` belong to the account, and the others
    are deleted.
    """
    is_final = jobs.c.state.in_(_FINAL)
    is_live = and_(jobs.c.lease_miner_id == run_outputs.c.miner_id, jobs.c.fence == run_outputs.c.fence)
    is_checkpoint = exists().where(
        job_checkpoints.c.job_id == run_outputs.c.job_id,
        job_checkpoints.c.artifact_id == run_outputs.c.artifact_id,
    )
    # Without a lease, `is_live` is NULL, which is neither true nor false.
    is_over = or_(jobs.c.lease_miner_id.is_(None), not_(is_live))
    query = (
        select(
            run_outputs.c.job_id, run_outputs.c.artifact_id, run_outputs.c.media_type, artifacts.c.size,
            jobs.c.account_id, jobs.c.service, is_checkpoint.label("is_checkpoint"),
        )
        .join(jobs, jobs.c.job_id == run_outputs.c.job_id)
        .join(artifacts, artifacts.c.artifact_id == run_outputs.c.artifact_id)
        .where(or_(is_final, and_(is_over, not_(is_checkpoint))))
        .limit(limit)
    )  # fmt: skip
    rows = connection.execute(query).all()
    for row in rows:
        if row.is_checkpoint and row.service in visible_services:
            record = ArtifactRecord(row.artifact_id, row.size, row.media_type)
            artifact_store.add(connection, record, row.account_id, now)
        elif row.is_checkpoint:
            connection.execute(
                delete(job_checkpoints).where(
                    job_checkpoints.c.job_id == row.job_id, job_checkpoints.c.artifact_id == row.artifact_id
                )
            )
        connection.execute(
            delete(run_outputs).where(
                run_outputs.c.job_id == row.job_id, run_outputs.c.artifact_id == row.artifact_id
            )
        )
    ended = [row.artifact_id for row in rows]
    artifact_store.drop_unreferenced(connection, ended)
    return ended
