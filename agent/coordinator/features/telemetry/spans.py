"""The spans of a job in the coordinator, from the times that it stores: submitted, waiting, each run, and the whole job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agent import telemetry
from agent.coordinator.consequences import Change
from agent.coordinator.features.telemetry import middleware
from agent.coordinator.hooks import NewJob
from agent.coordinator.store import jobs
from agent.coordinator.store.database import Connection
from agent.coordinator.store.jobs import JobRecord
from agent.core.jobs import JobState, Outcome, RunEnded
from agent.core.market.ledger import JobSettlement


def jobs_submitted(_connection: Connection, new_jobs: Sequence[NewJob], now: float) -> None:
    """Make the spans of the requests that submitted jobs, below their clients' spans."""
    for job in new_jobs:
        record = job.record
        parent = middleware.of_trace(record.client_trace_id)
        _record(
            record,
            "submit",
            "submit",
            parent.span_id if parent else None,
            (min(record.created_at, parent.requested_at) if parent else record.created_at, now),
        )


def jobs_changed(
    connection: Connection, changes: Sequence[Change], _: Mapping[str, JobSettlement], now: float
) -> None:
    """Make the spans that have ended: the wait for a miner, a run, the job."""
    for change in changes:
        record, life = change.before, change.life
        whole = telemetry.span_id(record.job_id, "job")
        if change.moved and life.state is JobState.RUNNING and life.lease is not None:
            waited_from = _waits_since(connection, record)
            _record(
                record,
                "queue",
                f"queue {life.fence}",
                whole,
                (waited_from, life.lease.assigned_at),
                attempt=life.fence,
            )
        for effect in change.effects:
            if isinstance(effect, RunEnded):
                lease, failure = effect.lease, effect.failure
                error = (
                    None
                    if effect.outcome is Outcome.COMPLETED
                    else failure.code
                    if failure
                    else effect.outcome.value
                )
                _record(
                    record, "run", f"run {lease.fence}", whole, (lease.assigned_at, now), error,
                    attempt=lease.fence, miner_id=lease.miner_id, outcome=effect.outcome.value,
                )  # fmt: skip
        if change.finished:
            failure = life.failure
            error = failure.code if failure and life.state is JobState.FAILED else None
            above = telemetry.span_id(record.job_id, "submit")
            times = record.created_at, life.finished_at or now
            _record(
                record, "job", "job", above, times, error, status=life.state.value, attempts=life.attempts
            )


def _waits_since(connection: Connection, record: JobRecord) -> float:
    """Return when the job was submitted, or its last run ended."""
    runs = jobs.runs_of(connection, record.job_id) if record.life.fence else []
    return float(runs[-1]["ended_at"]) if runs else record.created_at


def _record(
    record: JobRecord,
    name: str,
    part: str,
    parent: int | None,
    times: tuple[float, float],
    error: str | None = None,
    **attributes: Any,
) -> None:
    values = {"job_id": record.job_id, "service": record.service, **attributes}
    telemetry.record(
        "coordinator",
        name,
        trace_id=record.trace_id,
        own=telemetry.span_id(record.job_id, part),
        parent=parent,
        times=times,
        attributes={f"aitbc.{key}": value for key, value in values.items()},
        error=error,
    )
