"""Ends of leases without a result: by failure, release or expiry."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

import structlog

from agent.coordinator import hooks, lifecycle
from agent.coordinator.consequences import Change
from agent.coordinator.dispatch.fleet import known_miners
from agent.coordinator.hooks import RunReport
from agent.coordinator.metrics import LEASES_EXPIRED
from agent.coordinator.operations.callers import Session
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.miners.metering import metered
from agent.coordinator.operations.miners.sessions import lease_end
from agent.coordinator.store import jobs, queue, running
from agent.coordinator.store.jobs import JobRecord
from agent.core.errors import StaleLease
from agent.core.feasibility import Situation, feasible
from agent.core.jobs import (
    Abandon,
    FailRun,
    Failure,
    IllegalEvent,
    Job,
    JobState,
    Release,
)
from agent.protocol.answers import RunEndedAnswer
from agent.protocol.messages import RunFailure, RunLog, RunRelease
from runners.errors import FailureCode

LACKING: Final = frozenset(
    {
        FailureCode.ENGINE_UNAVAILABLE,
        FailureCode.ENGINE_OUTDATED,
        FailureCode.ENCODER_UNAVAILABLE,
        FailureCode.DENOISER_UNAVAILABLE,
        FailureCode.HARDWARE_UNAVAILABLE,
        FailureCode.GPU_UNSUPPORTED,
        FailureCode.LEASE_MALFORMED,
    }
)
"""Codes of runs for which the machine lacks something, or its version of the agent, so that it would fail again."""

log = structlog.get_logger()


async def fail(context: Context, session: Session, job_id: str, request: RunFailure) -> RunEndedAnswer:
    """Accept a failure. It is final if the client caused it; otherwise the job is retried. Raises `StaleLease`."""
    event = FailRun(
        miner_id=session.miner_id,
        fence=request.fence,
        now=context.clock(),
        failure=Failure(request.code, request.message),
        retry=request.kind == "retry",
    )
    life, trace_id = await context.database.write(
        _fail, context, session, job_id, event, request.units, request.log
    )
    log.info(
        "run_failed",
        job_id=job_id,
        miner_id=session.miner_id,
        kind=request.kind,
        code=request.code,
        trace_id=trace_id,
    )
    return _ended(context, life)


def _fail(
    connection: Connection,
    context: Context,
    session: Session,
    job_id: str,
    event: FailRun,
    units: Decimal | None,
    run_log: RunLog | None,
) -> tuple[Job, str]:
    record = _record(connection, job_id, event.fence)
    # The first report has ended the run, so this one would seem to come from a stale lease.
    if _is_repeated(record, session, event):
        return record.life, record.trace_id
    # Trying again is of no use if all miners that could run the job lack the same, e.g. an engine.
    if event.retry and event.failure.code in LACKING:
        event = replace(event, elsewhere=_runs_elsewhere(connection, context, record, event))
    hooks.run_reported(connection, context, RunReport(record, event.now, run_log, ends=True, returned=event))
    life = _change(connection, record, event, units=metered(context, record, units, event.now))
    return life, record.trace_id


def _runs_elsewhere(connection: Connection, context: Context, record: JobRecord, event: FailRun) -> bool:
    """Return whether a miner that does not lack the same may run the job. The same machine would fail again."""
    lacking = {
        run["miner_id"] for run in jobs.runs_of(connection, record.job_id) if run["failure_code"] in LACKING
    }
    miners = known_miners(connection, context.settings, event.now)
    other_miners = [miner for miner in miners if miner.miner_id not in lacking | {event.miner_id}]
    return bool(other_miners) and feasible(queue.waiting_job(record), Situation(other_miners, event.now))


async def release(context: Context, session: Session, job_id: str, request: RunRelease) -> RunEndedAnswer:
    """Release a lease that its miner hands back; the attempt does not count. Raises `StaleLease`."""
    now = context.clock()
    life, trace_id = await context.database.write(_release, context, session, job_id, request.fence, now)
    log.info("lease_released", job_id=job_id, miner_id=session.miner_id, trace_id=trace_id)
    return _ended(context, life)


def _release(
    connection: Connection, context: Context, session: Session, job_id: str, fence: int, now: float
) -> tuple[Job, str]:
    record = _record(connection, job_id, fence)
    event = Release(session.miner_id, fence, now)
    report = RunReport(record, now, None, ends=True, returned=event)
    hooks.run_reported(connection, context, report)
    event = replace(event, avoid_seconds=report.avoid_seconds, blamed=report.blamed)
    return _change(connection, record, event), record.trace_id


async def revoke(context: Context, session: Session, job_id: str, fence: int) -> None:
    """Release a lease that never reached its miner, without counting the release. Raises `StaleLease`."""
    life, trace_id = await context.database.write(_revoke, session, job_id, fence, context.clock())
    log.info("lease_revoked", job_id=job_id, miner_id=session.miner_id, trace_id=trace_id)
    _ended(context, life)


def _revoke(connection: Connection, session: Session, job_id: str, fence: int, now: float) -> tuple[Job, str]:
    record = _record(connection, job_id, fence)
    return _change(connection, record, Release(session.miner_id, fence, now)), record.trace_id


def _ended(context: Context, life: Job) -> RunEndedAnswer:
    """Wake the dispatcher if the job is queued again. Return the answer about its run."""
    if life.state is JobState.SUBMITTED:
        context.dispatcher.job_waiting()
    return RunEndedAnswer(job_id=life.job_id, status=life.state)


def _record(connection: Connection, job_id: str, fence: int) -> JobRecord:
    record = jobs.lock(connection, job_id)
    if record is None:
        raise StaleLease(job_id, fence)
    return record


def _change(connection: Connection, record: JobRecord, event: FailRun | Release, **values: Any) -> Job:
    try:
        return lifecycle.change(connection, record, event, event.now, **values)[0]
    except IllegalEvent:
        raise StaleLease(record.job_id, event.fence) from None


def _is_repeated(record: JobRecord, session: Session, event: FailRun) -> bool:
    """Return whether this failure was accepted before and only the answer was lost."""
    return (
        record.life.state is JobState.FAILED
        and record.life.fence == event.fence
        and record.miner_id == session.miner_id
        and not event.retry
    )


async def start_over(context: Context) -> None:
    """Extend all leases by a full period on startup, since miners could not renew them during the coordinator's absence."""
    now = context.clock()
    extended = await context.database.write(running.extend_leases, now + context.settings.lease_seconds)
    log.info("leases_extended", count=extended)


async def move(context: Context, seconds: float) -> None:
    """Move the ends of all leases after the clock has jumped by so many seconds, and give each miner a full period to renew its own."""
    expires_at = context.clock() + context.settings.lease_seconds
    moved = await context.database.write(running.move_leases, seconds, expires_at)
    log.warning("clock_jumped", seconds=round(seconds), leases=moved)


async def expire_due(context: Context) -> int:
    """End expired leases, and fail jobs whose files were not uploaded in time. Submit the job again with its files. Return their number."""
    now = context.clock()
    files_before = now - context.settings.input_wait_seconds
    # Mostly nothing is due. A look costs nothing, and a write every second would keep the disk busy.
    if not await context.database.read(running.anything_due, now, files_before):
        return 0
    expired, abandoned = await context.database.write(_expire_due, now, files_before)
    context.monitoring.meter.count(LEASES_EXPIRED, amount=len(expired))
    if any(life.state is JobState.SUBMITTED for life in expired):
        context.dispatcher.job_waiting()
    return len(expired) + abandoned


def _expire_due(connection: Connection, now: float, files_before: float) -> tuple[list[Job], int]:
    """Return the jobs whose leases expired, and the number of jobs that failed because of missing files."""
    expired = [
        lease_end(record, now, "no heartbeat arrived in time") for record in running.expired(connection, now)
    ]
    for item in expired:
        log.info(
            "lease_expired",
            job_id=item.before.job_id,
            fence=item.before.life.fence,
            status=item.life.state,
            trace_id=item.before.trace_id,
        )
    abandoned = []
    for record in running.abandoned(connection, files_before):
        missing = ", ".join(json.loads(record.missing_files or "[]"))
        failure = Failure(
            FailureCode.INPUT_MISSING,
            f"The files for {missing} were not uploaded in time. Submit the job again with its files.",
        )
        abandoned.append(Change.by(record, Abandon(now, failure)))
    lifecycle.save(connection, expired + abandoned, now)
    return [item.life for item in expired], len(abandoned)
