"""Jobs that run: whose they are, how many, and what is due about their leases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, select, text, update

from agent.coordinator.store import counts, records
from agent.coordinator.store.jobs import JobRecord, from_row
from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.schema.tables import jobs
from agent.coordinator.store.unfinished import RUNS, UnfinishedRows, in_state
from agent.core.jobs import JobState


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A running job, as its miner's owner sees it."""

    job_id: str
    miner_id: str
    service: str
    progress: float
    started_at: float | None


_RUNNING = (jobs.c.job_id, jobs.c.lease_miner_id, jobs.c.service, jobs.c.progress, jobs.c.started_at)
_known_running = UnfinishedRows(jobs.c.account_id, jobs.c.lease_miner_id)
_leases_of = Prepared(
    select(jobs.c.lease_miner_id, func.count())
    .where(jobs.c.lease_miner_id == bindparam("key"))
    .group_by(jobs.c.lease_miner_id)
)


@dataclass(frozen=True, slots=True)
class RunningNumbers:
    """The number of running jobs of each account, and of each miner if that has been read."""

    by_account: Mapping[str, int]
    by_miner: Mapping[str, int] | None


def numbers(connection: Connection, account_ids: Sequence[str]) -> RunningNumbers:
    """Return how many jobs of these accounts run."""
    rows = _known_running.of(connection, JobState.RUNNING)
    if rows is None:
        return RunningNumbers(counts.running(connection, account_ids), None)
    return RunningNumbers(Counter(row[0] for row in rows), Counter(row[1] for row in rows))


def leases_of(connection: Connection, miner_ids: Sequence[str]) -> dict[str, int]:
    """Return how many jobs each of these miners runs, without those that run none."""
    return dict(_leases_of.rows_of(connection, "key", miner_ids))


def of_miners(connection: Connection, miner_ids: Sequence[str]) -> list[RunningJob]:
    """Return the jobs that these miners run, in the order of submission."""
    query = select(*_RUNNING).where(RUNS, jobs.c.lease_miner_id.in_(miner_ids))
    running_jobs = records.find_all(connection, RunningJob, query)
    return sorted(running_jobs, key=lambda job: job.job_id)


def leased_by(connection: Connection, miner_id: str) -> list[JobRecord]:
    """Return the jobs whose newest lease is the miner's, including expired leases, locked as by `lock_many`."""
    query = select(jobs).where(jobs.c.lease_miner_id == miner_id)
    # Ordered as its index is, which has the miner's jobs only.
    return _locked(connection, query.order_by(jobs.c.lease_miner_id, jobs.c.job_id))


def expired(connection: Connection, now: float, limit: int = 1000) -> list[JobRecord]:
    """Return running jobs whose lease has expired, locked. Those that another transaction is changing are left out."""
    query = select(jobs).where(*in_state(connection, JobState.RUNNING), jobs.c.lease_expires_at < now)
    return _locked(connection, query.limit(limit), skip_locked=True)


def abandoned(connection: Connection, created_before: float, limit: int = 1000) -> list[JobRecord]:
    """Return jobs submitted before `created_before` that still wait for files from their client, locked as by `expired`."""
    query = (
        select(jobs)
        .where(text("state = 'submitted' AND missing_files IS NOT NULL"), jobs.c.created_at < created_before)
        .limit(limit)
    )
    return _locked(connection, query, skip_locked=True)


def _locked(
    connection: Connection, query: Select[*tuple[Any, ...]], *, skip_locked: bool = False
) -> list[JobRecord]:
    locked = query.with_for_update(key_share=True, skip_locked=skip_locked)
    return [from_row(row) for row in connection.execute(locked)]


def anything_due(connection: Connection, now: float, created_before: float) -> bool:
    """Return whether `expired` or `abandoned` would find any job."""
    is_running = in_state(connection, JobState.RUNNING)
    lease = select(jobs.c.job_id).where(*is_running, jobs.c.lease_expires_at < now)
    files = select(jobs.c.job_id).where(
        text("state = 'submitted' AND missing_files IS NOT NULL"), jobs.c.created_at < created_before
    )
    return any(connection.execute(query.limit(1)).first() is not None for query in (lease, files))


def move_leases(connection: Connection, seconds: float, expires_at: float) -> int:
    """Let all leases end at `expires_at`, and move their deadlines by so many seconds. Return their number."""
    return connection.execute(
        update(jobs)
        .where(RUNS)
        .values(lease_expires_at=expires_at, lease_deadline=jobs.c.lease_deadline + seconds)
    ).rowcount


def extend_leases(connection: Connection, expires_at: float) -> int:
    """Extend all leases at least to `expires_at`, because the coordinator's downtime is not the miners' fault."""
    return connection.execute(
        update(jobs).where(RUNS, jobs.c.lease_expires_at < expires_at).values(lease_expires_at=expires_at)
    ).rowcount
