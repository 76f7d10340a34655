"""Canaries, jobs with known answers, and the files of the jobs that repeat or check others."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Select, exists, insert, or_, select, update

from agent.coordinator.features.audits.store.audits import FINAL
from agent.coordinator.features.audits.tables import audits, canaries
from agent.coordinator.store import locks, records
from agent.coordinator.store.schema.tables import job_artifacts, jobs


@dataclass(frozen=True, slots=True)
class CanaryRecord:
    """A job with a known answer. `spec` and `results` are JSON; `job_id` is the job that gave the answer."""

    canary_id: str
    account_id: str
    job_id: str
    spec: str
    results: str
    note: str
    created_at: float
    submitted: int = 0
    due_at: float | None = None
    deleted_at: float | None = None


_COLUMNS = records.columns(canaries, CanaryRecord)


def add(connection: Connection, record: CanaryRecord) -> None:
    """Store a job with a known answer."""
    connection.execute(insert(canaries), records.values(record))


def find(connection: Connection, canary_id: str) -> CanaryRecord | None:
    """Return the canary, even if it is deleted, or None."""
    return records.find(connection, CanaryRecord, select(*_COLUMNS).where(canaries.c.canary_id == canary_id))


def find_all(connection: Connection) -> list[CanaryRecord]:
    """Return the canaries that are not deleted, newest first."""
    query = select(*_COLUMNS).where(canaries.c.deleted_at.is_(None)).order_by(canaries.c.canary_id.desc())
    return records.find_all(connection, CanaryRecord, query)


def of_jobs(connection: Connection, jobs_query: Select[str]) -> list[str]:
    """Return the canaries whose known answers the jobs gave that the query finds, without deleted ones."""
    query = select(canaries.c.canary_id).where(
        canaries.c.job_id.in_(jobs_query), canaries.c.deleted_at.is_(None)
    )
    return list(connection.execute(query.order_by(canaries.c.canary_id)).scalars())


def sources(connection: Connection) -> set[str]:
    """Return the jobs that gave the known answers, without those of deleted canaries."""
    return set(connection.execute(select(canaries.c.job_id).where(canaries.c.deleted_at.is_(None))).scalars())


def ended_jobs(connection: Connection, account_id: str, restrictions: str) -> list[str]:
    """Return the jobs of a canary, by the `restrictions` in their rows, that have ended and have data that no audit needs."""
    needed = exists().where(audits.c.job_id == jobs.c.job_id, audits.c.settled_at.is_(None))
    query = select(jobs.c.job_id).where(
        jobs.c.account_id == account_id,
        jobs.c.restrictions == restrictions,
        jobs.c.state.in_(FINAL),
        jobs.c.deleted_at.is_(None),
        ~needed,
    )
    return list(connection.execute(query.order_by(jobs.c.job_id)).scalars())


def needs_artifact(connection: Connection, account_id: str, artifact_id: str) -> bool:
    """Return whether a canary that is not deleted, or a job of the canaries' account, has a file as an input."""
    of_canary = exists().where(canaries.c.job_id == jobs.c.job_id, canaries.c.deleted_at.is_(None))
    query = (
        select(jobs.c.job_id)
        .join(job_artifacts, job_artifacts.c.job_id == jobs.c.job_id)
        .where(
            job_artifacts.c.artifact_id == artifact_id,
            job_artifacts.c.direction == "input",
            or_(jobs.c.account_id == account_id, of_canary),
        )
    )
    return connection.execute(query.limit(1)).first() is not None


def account(connection: Connection) -> str | None:
    """Return the account of the canaries' jobs, None if there never was a canary."""
    account_id: str | None = connection.execute(select(canaries.c.account_id).limit(1)).scalar_one_or_none()
    return account_id


def find_due(connection: Connection, now: float) -> list[str]:
    """Return the canaries that are due, or have no time yet."""
    due = or_(canaries.c.due_at.is_(None), canaries.c.due_at <= now)
    query = select(canaries.c.canary_id).where(canaries.c.deleted_at.is_(None), due)
    return list(connection.execute(query.order_by(canaries.c.canary_id)).scalars())


def postpone(
    connection: Connection, record: CanaryRecord, due_at: float | None, *, submitted: int = 0
) -> bool:
    """Set the time at which a canary is due. Return False, changing nothing, if it has changed since it was read."""
    # Also the claim: of two replicas, only one finds the time unchanged.
    unchanged = canaries.c.due_at.is_(None) if record.due_at is None else canaries.c.due_at == record.due_at
    row = update(canaries).where(canaries.c.canary_id == record.canary_id, unchanged)
    return connection.execute(row.values(due_at=due_at, submitted=record.submitted + submitted)).rowcount == 1


def delete(connection: Connection, canary_id: str, now: float) -> None:
    """Delete a canary's content. Its row remains for the audits that refer to it."""
    row = update(canaries).where(canaries.c.canary_id == canary_id)
    # The row stays, since jobs and audits name it; the client's data goes.
    connection.execute(row.values(deleted_at=now, spec="{}", results="{}", due_at=None))


def accounts_served(connection: Connection, miner_id: str, newest: int) -> list[str]:
    """Return the accounts of a miner's newest jobs, one for each job, without the coordinator's own."""
    by_this_miner = (jobs.c.miner_id == miner_id, jobs.c.deleted_at.is_(None), jobs.c.restrictions.is_(None))
    query = select(jobs.c.account_id).where(*by_this_miner).order_by(jobs.c.job_id.desc()).limit(newest)
    return list(connection.execute(query).scalars())


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
