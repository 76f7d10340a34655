"""Clients' operations on their jobs: read, wait, cancel, fetch results."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final

import orjson
import structlog

from agent.coordinator import hooks, lifecycle
from agent.coordinator.hooks import View
from agent.coordinator.operations.answers import JobCancelled, JobCreated, JobStatus
from agent.coordinator.operations.caches import Estimates
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.jobs import feasibility
from agent.coordinator.operations.jobs.estimates import estimates
from agent.coordinator.operations.supply import fleet
from agent.coordinator.store import jobs
from agent.coordinator.store.jobs import JobRecord
from agent.core.errors import (
    JobAlreadyCompleted,
    JobNotCompleted,
    JobNotFound,
)
from agent.core.jobs import FINAL, Cancel, Job, JobState, Outcome, RunEnded
from agent.core.values.quantities import format_optional_time, format_time, format_units
from aitbc.answers.accounts import Role
from aitbc.answers.jobs import JobError

log = structlog.get_logger()

POLL_SECONDS: Final = 5.0
"""How often a waiting answer reads the job's state, in case a message was lost."""


async def get(context: Context, caller: Caller, job_id: str) -> JobStatus:
    """Return the status of a job. Raises `JobNotFound`, also for another account's job."""
    record, fields = await context.database.peek(read, caller, job_id)
    return view(record, fields, await estimates_for(context, record), context.clock())


def read(
    connection: Connection, caller: Caller, job_id: str, view: View = View.STATUS
) -> tuple[JobRecord, dict[str, Any]]:
    """Return the caller's job, and the features' fields of answers about it. Raises `JobNotFound`."""
    record = own(jobs.find(connection, job_id), caller, job_id)
    return record, hooks.describe_jobs(connection, (record,), view)[job_id]


async def estimates_for(context: Context, record: JobRecord) -> Estimates | None:
    """Return the estimates for a job, None while no known miner can take it."""
    waits = record.life.state is JobState.SUBMITTED
    if waits and not feasibility.runnable(context, await fleet(context), record):
        return None
    return await estimates(context)


async def find(context: Context, caller: Caller, job_id: str) -> JobRecord:
    """Return the caller's job. Raises `JobNotFound`."""
    return own(await context.database.peek(jobs.find, job_id), caller, job_id)


async def wait_until_final(
    context: Context, caller: Caller, job_id: str, seconds: float
) -> tuple[JobStatus, dict[str, Any] | None]:
    """Wait until a job ends, or for `seconds`. Return its status, and its results if it has completed."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    # Subscribed before the first read: a job that ends between the two is in one of them.
    async with context.feed.subscribe(job_id) as subscription:
        job = await get(context, caller, job_id)
        while job.status not in FINAL and (remaining := deadline - loop.time()) > 0:
            message = await subscription.next(min(remaining, POLL_SECONDS))
            # Tokens and previews arrive many times a second and do not change the state, so they are no reason to read it.
            if message is None or message["type"] != "job_event":
                job = await get(context, caller, job_id)
    if job.status != "completed":
        return job, None
    _, text = await context.database.read(_results, caller, job_id)
    return job, json.loads(text)


async def wait_for_end(context: Context, caller: Caller, created: JobCreated, seconds: float) -> JobCreated:
    """Return the answer about a new job with its state and results once it ends, or after `seconds`."""
    job, results = await wait_until_final(context, caller, created.job_id, seconds)
    return created.model_copy(update={"status": job.status, "results": results, "error": job.error})


def own(record: JobRecord | None, caller: Caller, job_id: str) -> JobRecord:
    """Return the job if it belongs to the caller or the caller is an administrator. Raises `JobNotFound`, also for deleted data."""
    if (
        record is None
        or record.deleted_at is not None
        or (caller.role is not Role.ADMIN and record.account_id != caller.account_id)
    ):
        raise JobNotFound(job_id)
    return record


def view(record: JobRecord, fields: Mapping[str, Any], expected: Estimates | None, now: float) -> JobStatus:
    """Return the answer that describes a job, with the features' `fields`. Without `expected`, it has no estimate."""
    return JobStatus(**described(record, fields, expected, now))


def described(
    record: JobRecord, fields: Mapping[str, Any], expected: Estimates | None, now: float
) -> dict[str, Any]:
    """Return the fields of the answer that describes a job, with those of features."""
    life, state = record.life, record.life.state
    ends_at = None
    if expected is None:
        pass
    elif state is JobState.SUBMITTED:
        ends_at = expected.waiting_job(record.service, record.model, now)
    elif state is JobState.RUNNING:
        ends_at = expected.running_job(record.service, record.model, life.started_at or now, now)
    failure = None if life.failure is None else JobError(code=life.failure.code, message=life.failure.message)
    missing = record.missing_files if state is JobState.SUBMITTED else None
    finished_at = format_optional_time(life.finished_at)
    return {
        "job_id": record.job_id,
        "status": state.value,
        "progress": 100 if state is JobState.COMPLETED else int(record.progress),
        "type": record.type,
        "service_id": record.service,
        "name": record.name,
        "created_at": format_time(record.created_at),
        "attempts": life.attempts,
        "max_attempts": life.max_attempts,
        "started_at": format_optional_time(life.started_at),
        "estimated_completion": format_optional_time(ends_at),
        "completed_at": finished_at if state is JobState.COMPLETED else None,
        "failed_at": finished_at if state is JobState.FAILED else None,
        "cancelled_at": finished_at if state is JobState.CANCELLED else None,
        "account_id": record.account_id,
        "miner_id": record.miner_id,
        "cost": None if record.cost is None else format_units(record.cost),
        "error": failure if state is JobState.FAILED else None,
        "last_failure": failure if state is JobState.SUBMITTED else None,
        "missing_files": json.loads(missing) if missing else None,
        **fields,
    }


async def cancel(context: Context, caller: Caller, job_id: str) -> JobCancelled:
    """Cancel a job. Repeating it gets the same answer. Raises `JobNotFound`, and `JobAlreadyCompleted` for an ended job."""
    life, ended = await context.database.write(_cancel, caller, job_id, context.clock())
    if ended is not None:
        context.dispatcher.cancel(ended.lease.miner_id, job_id, ended.lease.fence)
    finished_at = life.finished_at if life.finished_at is not None else context.clock()
    return JobCancelled(job_id=job_id, status="cancelled", cancelled_at=format_time(finished_at))


def _cancel(connection: Connection, caller: Caller, job_id: str, now: float) -> tuple[Job, RunEnded | None]:
    record = own(jobs.lock(connection, job_id), caller, job_id)
    # A client that repeats the call after a lost answer has what it wanted.
    if record.life.state is JobState.CANCELLED:
        return record.life, None
    if record.life.state in FINAL:
        raise JobAlreadyCompleted(
            f"Job {job_id} is already {record.life.state}.", {"status": record.life.state}
        )
    life, effects = lifecycle.change(connection, record, Cancel(now), now)
    return life, next((effect for effect in effects if isinstance(effect, RunEnded)), None)


async def results(context: Context, caller: Caller, job_id: str) -> bytes:
    """Return the results of a completed job, a `JobResults` as JSON. Raises `JobNotFound`, and `JobNotCompleted` with the state and the cause.

    The results are stored as JSON and stay as they are: to decode and encode a million values would take a second.
    """
    completed_at, text = await context.database.read(_results, caller, job_id)
    around = {"job_id": job_id, "status": "completed", "completed_at": completed_at}
    return b'%b,"results":%b}' % (orjson.dumps(around)[:-1], text.encode())


def _results(connection: Connection, caller: Caller, job_id: str) -> tuple[str, str]:
    """Return when a job was completed, and its results as JSON."""
    record = own(jobs.find(connection, job_id), caller, job_id)
    life = record.life
    text = jobs.results_of(connection, job_id)
    if life.state is not JobState.COMPLETED or text is None or life.finished_at is None:
        details: dict[str, Any] = {"status": life.state.value}
        if life.failure is not None:
            details["cause"] = {"code": life.failure.code, "message": life.failure.message}
        raise JobNotCompleted(f"Job {job_id} has no results because it is {life.state}.", details)
    return format_time(life.finished_at), text


async def failed_by_machines(context: Context, job_id: str) -> bool:
    """Return whether a job failed without any fault of its input."""
    return await context.database.read(_failed_by_machines, job_id)


def _failed_by_machines(connection: Connection, job_id: str) -> bool:
    record = jobs.find(connection, job_id)
    ended = jobs.runs_of(connection, job_id)
    if record is None or not ended or record.life.state is not JobState.FAILED:
        return False
    return ended[-1]["outcome"] in (Outcome.RETRIED, Outcome.EXPIRED)
