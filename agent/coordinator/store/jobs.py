"""Jobs: rows and queries."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter, itemgetter
from typing import Any, Final

import orjson
from sqlalchemy import (
    Connection,
    Row,
    Select,
    Text,
    and_,
    bindparam,
    case,
    delete,
    insert,
    select,
    text,
    update,
)

from agent.coordinator.store.database import StaleRead
from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.schema.tables import jobs, results, runs
from agent.core.jobs import DEADLINE_GRACE_SECONDS, Failure, Job, JobState, Lease, RunEnded
from agent.core.tracing import trace_id_of

LARGE_SPEC: Final = 64 * 1024
"""A specification above this size counts to its account's quota, and needs free disk space, as a file does."""


def quota_bytes(spec: str) -> int:
    """Return how much of a specification counts to its account's quota."""
    return len(spec) if len(spec) > LARGE_SPEC else 0


OPAQUE: Final = "sealed"
"""The field of a specification that has the input if only the job's miner can read it."""


def is_opaque(specification: Mapping[str, Any]) -> bool:
    """Return whether only the client and the job's miner can read the input."""
    return specification.get(OPAQUE) is not None


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as stored. `life` is the part that events change; money is in units of 1e-8, memory in bytes.

    `name_given` is 1 if the client gave the name, 0 if it is derived. `cost` is what the client has paid, or None
    until the job has ended. `deleted_at` is when the job's data was deleted. `needs` is JSON: pairs of a feature's name and
    value. `agreed_price` is the price per unit on which the client and the miner `requested_miner_id` have agreed, None if miners' current
    prices apply. `restrictions` is JSON of `queue.format_restrictions`; `surcharge` is held beside `max_cost` for what options cost.
    `price_ppm` is the share of its miner's price that the job costs, in parts per million, if the miner agrees to less than all of it.
    """

    life: Job
    account_id: str
    service: str
    type: str
    name: str
    model: str | None
    spec: str
    spec_digest: str
    cpu_millis: int
    memory: int
    gpus: int
    priority: int
    max_cost: int
    fee_ppm: int
    requested_miner_id: str | None
    missing_files: str | None
    created_at: float
    miner_id: str | None = None
    unit_price: int | None = None
    progress: float = 0.0
    units: str = field(default="0")
    agreed_price: int | None = None
    client_trace_id: str | None = None
    cost: int | None = None
    name_given: int = 1
    deleted_at: float | None = None
    needs: str | None = None
    restrictions: str | None = None
    surcharge: int | None = None
    price_ppm: int | None = None

    @property
    def job_id(self) -> str:
        """The job's id."""
        return self.life.job_id

    @property
    def quota_bytes(self) -> int:
        """The bytes of its specification that count to the account's quota: all of a large one."""
        return quota_bytes(self.spec)

    @property
    def held(self) -> int:
        """The money that is held until the job ends: its maximum cost, and the surcharge of its options."""
        return self.max_cost + (self.surcharge or 0)

    @property
    def is_opaque(self) -> bool:
        """Whether only the client and the job's miner can read its input."""
        return f'"{OPAQUE}":' in self.spec and is_opaque(orjson.loads(self.spec))

    @property
    def trace_id(self) -> str:
        """The id that follows the job through all logs: the client's, or one that is derived from the job's id."""
        return self.client_trace_id or trace_id_of(self.job_id)


# A job's columns, once: most are fields of its record or of its life, the others parts of the life. Selects, rows and inserts follow.
_RECORD = tuple(column.name for column in fields(JobRecord) if column.name != "life")
_LIFE = (
    "timeout_seconds", "max_attempts", "attempts", "fence", "started_at", "finished_at", "avoid_miner_id", "avoid_until",
)  # fmt: skip
_LEASE = {
    "lease_miner_id": "miner_id", "lease_session": "session", "lease_assigned_at": "assigned_at", "lease_expires_at": "expires_at",
    "lease_deadline": "deadline",
}  # fmt: skip
_FAILURE = {"failure_code": "code", "failure_message": "message"}
_COLUMNS = ("job_id", "state", *_LIFE, *_LEASE, *_FAILURE, *_RECORD)

_record_values = attrgetter(*_RECORD)
_life_values = attrgetter(*_LIFE)
_lease_values = attrgetter(*_LEASE.values())
_failure_values = attrgetter(*_FAILURE.values())
_row_values = itemgetter(*_COLUMNS)

_find = select(*(jobs.c[name] for name in _COLUMNS)).where(jobs.c.job_id == bindparam("key"))
# All transactions lock jobs in the order of their ids.
_find_to_lock = _find.order_by(jobs.c.job_id)
_by_id = Prepared(_find)
_insert = Prepared(insert(jobs))
_by_id_locked = Prepared(_find_to_lock.with_for_update(key_share=True))
# Only if nobody has changed the run since it was read.
_update_life = Prepared(
    update(jobs).where(
        jobs.c.job_id == bindparam("key"),
        jobs.c.fence == bindparam("known_fence"),
        jobs.c.state == bindparam("known_state"),
    )
)
_by_ids = select(jobs).where(jobs.c.job_id.in_(bindparam("keys", expanding=True)))
_by_id_if_free = Prepared(_find_to_lock.with_for_update(key_share=True, skip_locked=True))
_insert_run = Prepared(insert(runs))
_insert_results = Prepared(insert(results))
_results_of = Prepared(select(results.c.results).where(results.c.job_id == bindparam("key")))


def add(connection: Connection, records: Sequence[JobRecord]) -> None:
    """Store new jobs."""
    rows = [
        {
            "job_id": record.job_id,
            **dict(zip(_RECORD, _record_values(record), strict=True)),
            **_columns_of(record.life),
        }
        for record in records
    ]
    _insert.run_many(connection, rows)


def find(connection: Connection, job_id: str) -> JobRecord | None:
    """Return the job, or None."""
    row = _by_id.row(connection, {"key": job_id})
    return None if row is None else _record(row)


def only(job_id: str) -> Select[str]:
    """Return a query for this job's id."""
    return select(jobs.c.job_id).where(jobs.c.job_id == job_id)


def lock(connection: Connection, job_id: str) -> JobRecord | None:
    """Return the job, or None. No other transaction changes it until this one ends."""
    row = _by_id_locked.row(connection, {"key": job_id})
    return None if row is None else _record(row)


def save_lives(connection: Connection, lives: Sequence[tuple[Job, Job, dict[str, Any]]]) -> None:
    """Store jobs as they were before and are after events, with other columns that change, which are the same for all jobs.

    Raises `StaleRead` if another transaction has changed the run of one of them since it was read.
    """
    rows = [
        {
            "key": life.job_id,
            "known_fence": earlier.fence,
            "known_state": earlier.state.value,
            **_columns_of(life),
            **values,
        }
        for earlier, life, values in lives
    ]
    if _update_life.run_many(connection, rows) != len(rows):
        raise StaleRead


def add_runs(connection: Connection, ended: Sequence[tuple[str, RunEnded]], now: float) -> None:
    """Store runs that have ended."""
    _insert_run.run_many(connection, [_run_values(job_id, run, now) for job_id, run in ended])


def _run_values(job_id: str, run: RunEnded, now: float) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "fence": run.lease.fence,
        "miner_id": run.lease.miner_id,
        "assigned_at": run.lease.assigned_at,
        "ended_at": now,
        "outcome": run.outcome,
        "failure_code": run.failure.code if run.failure else None,
        "failure_message": run.failure.message if run.failure else None,
    }


def drop_run(connection: Connection, job_id: str, fence: int) -> None:
    """Delete an ended run, because its lease was revived or its result arrived late."""
    connection.execute(delete(runs).where(runs.c.job_id == job_id, runs.c.fence == fence))


def runs_of(connection: Connection, job_id: str) -> list[dict[str, Any]]:
    """Return the ended runs of a job, oldest first."""
    rows = connection.execute(select(runs).where(runs.c.job_id == job_id).order_by(runs.c.fence))
    return [dict(row) for row in rows.mappings()]


def save_files(
    connection: Connection, job_id: str, *, name: str, spec: str, spec_digest: str, missing: str | None
) -> None:
    """Store a job's name and specification after one of its files was uploaded."""
    connection.execute(
        update(jobs)
        .where(jobs.c.job_id == job_id)
        .values(name=name, spec=spec, spec_digest=spec_digest, missing_files=missing)
    )


def ended(
    connection: Connection,
    state: JobState,
    finished_before: float,
    created_before: str,
    *,
    after_id: str,
    limit: int,
) -> list[tuple[str, str]]:
    """Return ids and accounts of jobs that ended in this state before a time and have data, oldest first.

    `created_before` is an id of that time: it bounds what the index reads. `after_id` is the last id of the former page.
    """
    query = select(jobs.c.job_id, jobs.c.account_id).where(
        jobs.c.state == state.value,
        _HAS_DATA,
        jobs.c.job_id > after_id,
        jobs.c.job_id < created_before,
        jobs.c.finished_at < finished_before,
    )
    return [(row[0], row[1]) for row in connection.execute(query.order_by(jobs.c.job_id).limit(limit))]


def forget_data(connection: Connection, job_ids: Sequence[str], now: float) -> None:
    """Delete everything of ended jobs that their clients gave or got. What receipts and payments refer to remains."""
    rows = update(jobs).where(jobs.c.job_id.in_(job_ids))
    connection.execute(
        rows.values(
            name="",
            name_given=0,
            spec="{}",
            failure_message=case((jobs.c.failure_code.is_not(None), ""), else_=None),
            deleted_at=now,
        )
    )
    connection.execute(update(runs).where(runs.c.job_id.in_(job_ids)).values(failure_message=None))
    connection.execute(delete(results).where(results.c.job_id.in_(job_ids)))


def bind(connection: Connection, job_id: str, *, miner_id: str | None, price: int | None) -> None:
    """Leave a waiting job to one miner at an agreed price, or with None to any miner."""
    connection.execute(
        update(jobs).where(jobs.c.job_id == job_id).values(requested_miner_id=miner_id, agreed_price=price)
    )


_is_run = (
    jobs.c.job_id == bindparam("key"),
    jobs.c.lease_miner_id == bindparam("by_miner"),
    jobs.c.fence == bindparam("at_fence"),
    jobs.c.state == JobState.RUNNING.value,
)
_account_of_run = Prepared(select(jobs.c.account_id).where(*_is_run))
_counts = and_(
    bindparam("new_units", type_=Text).is_not(None), jobs.c.lease_deadline >= bindparam("metered_since")
)
_progress = Prepared(
    update(jobs)
    .where(*_is_run)
    .values(
        progress=bindparam("new_progress"),
        units=case((_counts, bindparam("new_units", type_=Text)), else_=jobs.c.units),
    )
)


def save_progress(
    connection: Connection,
    job_id: str,
    miner_id: str,
    fence: int,
    *,
    progress: float,
    units: str | None,
    now: float,
) -> None:
    """Store the progress of a job's current run. Other runs have no effect.

    `units` are unchanged if None, and after the last moment of the run's lease.
    """
    values = {
        "key": job_id,
        "by_miner": miner_id,
        "at_fence": fence,
        "new_progress": progress,
        "new_units": units,
        "metered_since": now - DEADLINE_GRACE_SECONDS,
    }
    _progress.run(connection, values)


def account_of_run(connection: Connection, job_id: str, miner_id: str, fence: int) -> str | None:
    """Return the account of the job that the miner runs under this fence, or None if it does not run it."""
    values = {"key": job_id, "by_miner": miner_id, "at_fence": fence}
    account_id: str | None = _account_of_run.scalar(connection, values)
    return account_id


_HAS_DATA = text("finished_at IS NOT NULL AND deleted_at IS NULL")


def find_many(connection: Connection, job_ids: Sequence[str]) -> dict[str, JobRecord]:
    """Return jobs by id, without unknown ids."""
    rows = connection.execute(_by_ids, {"keys": list(job_ids)})
    return {row.job_id: from_row(row) for row in rows}


def lock_many(connection: Connection, job_ids: Collection[str]) -> dict[str, JobRecord]:
    """Do the same as `find_many`. No other transaction changes these jobs until this one ends."""
    return _each(connection, _by_id_locked, job_ids)


def lock_claimable(connection: Connection, job_ids: Collection[str]) -> dict[str, JobRecord]:
    """Do the same as `lock_many`, without jobs that no longer wait, or that another transaction is changing."""
    # Without these conditions in the query, the planner finds the jobs by their ids, and not in an index of all that wait.
    records = _each(connection, _by_id_if_free, job_ids)
    return {
        job_id: record
        for job_id, record in records.items()
        if record.life.state is JobState.SUBMITTED and record.missing_files is None
    }


def _each(connection: Connection, query: Prepared, job_ids: Collection[str]) -> dict[str, JobRecord]:
    """Return the jobs that a query by key finds, locked in the order of the keys."""
    records = [_record(row) for row in query.rows_of(connection, "key", sorted(set(job_ids)))]
    return {record.job_id: record for record in records}


def add_results(connection: Connection, results_of_jobs: Sequence[tuple[str, str]]) -> None:
    """Store the results of completed jobs: job ids and canonical JSON."""
    rows = [{"job_id": job_id, "results": canonical} for job_id, canonical in results_of_jobs]
    _insert_results.run_many(connection, rows)


def results_of(connection: Connection, job_id: str) -> str | None:
    """Return the results of a completed job as canonical JSON, or None."""
    text: str | None = _results_of.scalar(connection, {"key": job_id})
    return text


def from_row(row: Row[*tuple[Any, ...]]) -> JobRecord:
    """Return the job of a row with all columns."""
    return _record(_row_values(row._mapping))  # noqa: SLF001 - SQLAlchemy's public name for a row's columns


def _columns_of(life: Job) -> dict[str, Any]:
    """Return what the row of a job has about its life, without its id."""
    values: dict[str, Any] = dict(zip(_LIFE, _life_values(life), strict=True))
    values["state"] = life.state.value
    for columns, read, part in (
        (_LEASE, _lease_values, life.lease),
        (_FAILURE, _failure_values, life.failure),
    ):
        values |= zip(columns, read(part), strict=True) if part else dict.fromkeys(columns)
    return values


_AFTER_LIFE: Final = 2 + len(_LIFE)
_AFTER_LEASE: Final = _AFTER_LIFE + len(_LEASE)
_AFTER_FAILURE: Final = _AFTER_LEASE + len(_FAILURE)


def _record(row: tuple[Any, ...]) -> JobRecord:
    """Return the job of a row with the columns of `_COLUMNS`, in their order."""
    values = dict(zip(_LIFE, row[2:_AFTER_LIFE], strict=True))
    lease, failure = row[_AFTER_LIFE:_AFTER_LEASE], row[_AFTER_LEASE:_AFTER_FAILURE]
    life = Job(
        job_id=row[0],
        state=JobState(row[1]),
        # A lease is under the job's fence: a new one raises it.
        lease=None
        if lease[0] is None
        else Lease(fence=values["fence"], **dict(zip(_LEASE.values(), lease, strict=True))),
        failure=None if failure[0] is None else Failure(*failure),
        **values,
    )
    return JobRecord(life, *row[_AFTER_FAILURE:])
