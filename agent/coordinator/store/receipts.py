"""Receipts, and the typical durations that are learned with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select, update

from agent.coordinator.store.tables import durations, jobs, receipts, results

PAGE = 1000
SMOOTHING = 0.1
"""Weight of the newest run in a typical duration, once there are ten."""


@dataclass(frozen=True, slots=True)
class ReceiptRecord:
    """A receipt as stored; `receipt` is its JSON text."""

    receipt_id: str
    job_id: str
    miner_id: str
    statement_sha256: str
    receipt: str
    created_at: float


_COLUMNS = tuple(receipts.c[name] for name in ReceiptRecord.__dataclass_fields__)


def add(connection: Connection, record: ReceiptRecord) -> None:
    """Store the receipt of a job; a job has one."""
    connection.execute(
        insert(receipts), {name: getattr(record, name) for name in ReceiptRecord.__dataclass_fields__}
    )


def of_job(connection: Connection, job_id: str) -> ReceiptRecord | None:
    """The receipt of a job, or None."""
    row = connection.execute(select(*_COLUMNS).where(receipts.c.job_id == job_id)).one_or_none()
    return None if row is None else ReceiptRecord(*row)


def find(connection: Connection, receipt_id: str) -> ReceiptRecord | None:
    """The receipt, or None."""
    row = connection.execute(select(*_COLUMNS).where(receipts.c.receipt_id == receipt_id)).one_or_none()
    return None if row is None else ReceiptRecord(*row)


def any_receipt(connection: Connection) -> bool:
    """Whether there is any receipt at all."""
    return connection.execute(select(receipts.c.receipt_id).limit(1)).first() is not None


def all_with_results(connection: Connection) -> Iterator[tuple[ReceiptRecord, str | None]]:
    """Every receipt, with the results of its job (JSON text) where they are there."""
    query = select(*_COLUMNS, results.c.results).outerjoin(results, results.c.job_id == receipts.c.job_id)
    for row in connection.execute(query.execution_options(yield_per=PAGE)):
        yield ReceiptRecord(*row[:-1]), row[-1]


def completed_without_receipt(connection: Connection) -> list[str]:
    """The ids of jobs that are completed and have no receipt."""
    query = (
        select(jobs.c.job_id)
        .outerjoin(receipts, receipts.c.job_id == jobs.c.job_id)
        .where(jobs.c.state == "completed", receipts.c.receipt_id.is_(None))
    )
    return list(connection.execute(query).scalars())


def learn_duration(connection: Connection, service: str, model: str | None, seconds: float) -> None:
    """Take one run into the typical duration of its service and model."""
    key = {"service": service, "model": model or ""}
    condition = (durations.c.service == service, durations.c.model == key["model"])
    known = connection.execute(select(durations.c.count, durations.c.seconds).where(*condition)).one_or_none()
    if known is None:
        connection.execute(insert(durations), {**key, "count": 1, "seconds": seconds})
        return
    count, before = known
    weight = max(SMOOTHING, 1 / (count + 1))
    typical = before + weight * (seconds - before)
    connection.execute(update(durations).where(*condition).values(count=count + 1, seconds=typical))


def typical_durations(connection: Connection) -> dict[tuple[str, str], float]:
    """Typical seconds of a run by service and model ("" without)."""
    rows = connection.execute(select(durations.c.service, durations.c.model, durations.c.seconds))
    return {(row.service, row.model): row.seconds for row in rows}


def queue_lengths(connection: Connection) -> dict[tuple[str, str], int]:
    """How many jobs wait, by service and model ("" without)."""
    model = func.coalesce(jobs.c.model, "")
    query = (
        select(jobs.c.service, model, func.count())
        .where(jobs.c.state == "submitted", jobs.c.missing_files.is_(None))
        .group_by(jobs.c.service, model)
    )
    return {(service, name): count for service, name, count in connection.execute(query)}
