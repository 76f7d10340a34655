"""Receipts, and the typical durations of runs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sqlalchemy import Connection, bindparam, func, insert, select, text

from agent.coordinator.store import counts, records
from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.schema.tables import durations, jobs, receipts, results
from agent.coordinator.store.unfinished import UnfinishedRows
from agent.core.jobs import JobState

PAGE = 1000
QUEUE_WINDOW = 1000
"""How many waiting jobs are examined to estimate the work in the queue."""

# All runs weigh the same until there are ten; then the newest one weighs a tenth. `share` is what those of one transaction weigh then.
_learn_duration = Prepared(
    text(
        "INSERT INTO durations (service, model, count, seconds) VALUES (:service, :model, :runs, :seconds) "
        "ON CONFLICT (service, model) DO UPDATE SET count = durations.count + excluded.count, seconds = durations.seconds + "
        "(excluded.seconds - durations.seconds) * (CASE WHEN durations.count < 10 "
        "THEN 1.0 * excluded.count / (durations.count + excluded.count) ELSE CAST(:share AS double precision) END)"
    )
)
_NEWEST: Final = 0.1


@dataclass(frozen=True, slots=True)
class CompletedRun:
    """A completed run: its service and model ("" for none), and the seconds from its lease to its result."""

    service: str
    model: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ReceiptRecord:
    """A receipt as stored. `receipt` is its JSON text."""

    receipt_id: str
    job_id: str
    miner_id: str
    statement_sha256: str
    receipt: str
    created_at: float


class JobReceipt(NamedTuple):
    """Whose job it is, its state, and the receipt's miner and JSON text, which are None without one."""

    account_id: str
    state: str
    miner_id: str | None
    receipt: str | None


_COLUMNS = records.columns(receipts, ReceiptRecord)
_insert = Prepared(insert(receipts))
_of_job = Prepared(select(*_COLUMNS).where(receipts.c.job_id == bindparam("key")))
_with_job = Prepared(
    select(jobs.c.account_id, jobs.c.state, receipts.c.miner_id, receipts.c.receipt)
    .outerjoin(receipts, receipts.c.job_id == jobs.c.job_id)
    .where(jobs.c.job_id == bindparam("key"))
)
_by_id = Prepared(select(*_COLUMNS).where(receipts.c.receipt_id == bindparam("key")))

_next = (
    select(jobs.c.service, func.coalesce(jobs.c.model, "").label("model"))
    .where(text("state = 'submitted' AND missing_files IS NULL"))
    .order_by(jobs.c.priority.desc(), jobs.c.job_id)
    .limit(QUEUE_WINDOW)
    .subquery()
)
_known_waiting = UnfinishedRows(jobs.c.service, jobs.c.model, jobs.c.missing_files)
_next_in_queue = Prepared(
    select(_next.c.service, _next.c.model, func.count()).group_by(_next.c.service, _next.c.model)
)


def add(connection: Connection, new_receipts: Sequence[ReceiptRecord]) -> None:
    """Store the only receipts of jobs."""
    _insert.run_many(connection, [records.values(receipt) for receipt in new_receipts])


def of_job(connection: Connection, job_id: str) -> ReceiptRecord | None:
    """Return the receipt of a job, or None."""
    row = _of_job.row(connection, {"key": job_id})
    return None if row is None else ReceiptRecord(*row)


def with_job(connection: Connection, job_id: str) -> JobReceipt | None:
    """Return a job's receipt with the state and the account of the job, or None if there is no such job."""
    row = _with_job.row(connection, {"key": job_id})
    return None if row is None else JobReceipt(*row)


def find(connection: Connection, receipt_id: str) -> ReceiptRecord | None:
    """Return the receipt, or None."""
    row = _by_id.row(connection, {"key": receipt_id})
    return None if row is None else ReceiptRecord(*row)


def any_receipt(connection: Connection) -> bool:
    """Return whether any receipt exists."""
    return connection.execute(select(receipts.c.receipt_id).limit(1)).first() is not None


def all_with_results(connection: Connection) -> Iterator[tuple[ReceiptRecord, str | None, bool]]:
    """Iterate over all receipts, each with the results of its job (JSON text), or None if they are missing.

    The third value states whether the client deleted the job's data.
    """
    query = (
        select(*_COLUMNS, results.c.results, jobs.c.deleted_at.is_not(None))
        .join(jobs, jobs.c.job_id == receipts.c.job_id)
        .outerjoin(results, results.c.job_id == receipts.c.job_id)
    )
    # In pages: all results of a coordinator do not fit the memory.
    for row in connection.execute(query.execution_options(yield_per=PAGE)):
        yield ReceiptRecord(*row[:-2]), row[-2], bool(row[-1])


def completed_without_receipt(connection: Connection) -> list[str]:
    """Return the ids of completed jobs without a receipt."""
    query = (
        select(jobs.c.job_id)
        .outerjoin(receipts, receipts.c.job_id == jobs.c.job_id)
        .where(jobs.c.state == "completed", receipts.c.receipt_id.is_(None))
    )
    return list(connection.execute(query).scalars())


def learn_durations(connection: Connection, runs: Iterable[CompletedRun]) -> None:
    """Update the typical durations."""
    by_kind: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for run in runs:
        by_kind[run.service, run.model].append(run.seconds)
    rows = [
        {
            "service": service,
            "model": model,
            "runs": len(durations),
            "seconds": sum(durations) / len(durations),
            # As if the runs of this transaction had been learned one after the other.
            "share": 1 - (1 - _NEWEST) ** len(durations),
        }
        for (service, model), durations in sorted(by_kind.items())
    ]
    _learn_duration.run_many(connection, rows)


def typical_durations(connection: Connection) -> dict[tuple[str, str], float]:
    """Return the typical seconds of a run by service and model ("" for none)."""
    rows = connection.execute(select(durations.c.service, durations.c.model, durations.c.seconds))
    return {(row.service, row.model): row.seconds for row in rows}


def queue_lengths(connection: Connection) -> dict[tuple[str, str], int]:
    """Return the number of waiting jobs by service and model ("" for none).

    For a very long queue, extrapolate from the jobs that are claimed next.
    """
    rows = _known_waiting.of(connection, JobState.SUBMITTED)
    if rows is not None:
        return Counter((service, model or "") for service, model, missing in rows if missing is None)
    counted = {(service, model): count for service, model, count in _next_in_queue.rows(connection)}
    sampled = sum(counted.values())
    if sampled < QUEUE_WINDOW:
        return counted
    all_waiting = counts.total(connection, states=(JobState.SUBMITTED.value,))
    return {key: count * all_waiting // sampled for key, count in counted.items()}
