"""What clients do with jobs: submit, watch, list, cancel, fetch results."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog

from agent.coordinator import lifecycle, tracing
from agent.coordinator.operations.accounts.access import Caller, Role
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.jobs import validation as submissions
from agent.coordinator.operations.jobs.estimates import Estimates, estimates
from agent.coordinator.operations.jobs.validation import JobRequest, Submission
from agent.coordinator.operations.market import marketplace
from agent.coordinator.operations.supply import supply
from agent.coordinator.store import artifacts as artifact_store
from agent.coordinator.store import counts
from agent.coordinator.store import idempotency as idempotency_store
from agent.coordinator.store import jobs as store
from agent.coordinator.store.artifacts import JobArtifact
from agent.coordinator.store.jobs import JobRecord
from agent.core.errors import (
    Conflict,
    JobAlreadyCompleted,
    JobNotCompleted,
    JobNotFound,
    RateLimitExceeded,
    ValidationFailed,
)
from agent.core.jobs import FINAL, Cancel, Job, JobState, Outcome, RunEnded
from agent.core.values.quantities import format_money, format_time, from_units, parse_quantity, to_units
from aitbc.canonical import canonical_json, sha256_hex
from runners.api import ServiceDefinition

JobView = dict[str, Any]

log = structlog.get_logger()

OPEN: Final = (JobState.SUBMITTED.value, JobState.RUNNING.value)

QUEUE_RETRY_SECONDS: Final = 10
"""When to come back with a job that found its account's queue full: by then some of its many jobs have ended, or none will soon."""
LOOK_AGAIN_SECONDS: Final = 5.0
"""How often a waiting answer looks by itself, should a message have been lost."""


async def submit(context: Context, caller: Caller, request: JobRequest, key: str | None = None) -> JobView:
    """Create a job. Returns what `POST /v1/jobs` answers.

    With an idempotency `key`, the same request again gets the first answer, and another one `Conflict`.
    """
    service = submissions.service_of(context, request.type)
    models = (await supply(context, service.service_id)).models
    submission = submissions.check_job(context, request, models)
    return await _add(context, caller, submission, _repeatable(key, request.model_dump(mode="json")))


async def submit_service_call(
    context: Context,
    caller: Caller,
    definition: ServiceDefinition,
    body: Mapping[str, Any],
    key: str | None = None,
) -> JobView:
    """Create a job from the body of a service call; `key` as for `submit`."""
    models = (await supply(context, definition.service_id)).models
    submission = submissions.check_service_call(context, definition, body, models)
    repeatable = _repeatable(key, {"service": definition.service_id, "body": body})
    return {**await _add(context, caller, submission, repeatable), "service_id": definition.service_id}


@dataclass(frozen=True, slots=True)
class Repeatable:
    """An idempotency key, and the digest of the request that carries it."""

    key: str
    request_sha256: str


def _repeatable(key: str | None, request: Mapping[str, Any]) -> Repeatable | None:
    return None if key is None else Repeatable(key, sha256_hex(canonical_json(request)))


async def _add(
    context: Context, caller: Caller, submission: Submission, repeatable: Repeatable | None
) -> JobView:
    record = _new_record(context, account_of(caller), submission)
    inputs = [JobArtifact(artifact, path, "") for path, artifact in submission.artifact_ids().items()]
    expected = await estimates(context)
    done = expected.waiting_job(record.service, record.model, record.created_at)
    answer = {
        "job_id": record.job_id,
        "status": record.life.state.value,
        "created_at": format_time(record.created_at),
        "estimated_completion": format_time(done),
        **({"missing_files": json.loads(record.missing_files)} if record.missing_files else {}),
    }
    offer_id = submission.options.offer_id
    if record.missing_files is None:
        # Before the write, so that the claim usually shares its commit: the job starts one wait for the disk earlier.
        context.dispatcher.job_waiting()
    answer = await context.database.write(_insert, context, record, inputs, offer_id, answer, repeatable)
    if answer["job_id"] == record.job_id:  # else the request is one that was answered before
        log.info("job_submitted", job_id=record.job_id, service=record.service, trace_id=record.trace_id)
        tracing.note(record.trace_id)
    return answer


def account_of(caller: Caller) -> str:
    """The account that the caller's jobs belong to. Raises `Conflict` if it has none."""
    if caller.account_id is None:
        raise Conflict("Jobs belong to an account; use a client's key.")
    return caller.account_id


def _new_record(context: Context, account_id: str, submission: Submission) -> JobRecord:
    job_id = context.new_id("job")
    spec, digest = submission.specification(job_id)
    options = submission.options
    resources = options.resources
    return JobRecord(
        life=Job(
            job_id=job_id,
            state=JobState.SUBMITTED,
            timeout_seconds=submission.timeout_seconds,
            max_attempts=submission.max_attempts,
        ),
        account_id=account_id,
        service=submission.definition.service_id,
        type=submission.type,
        name=submission.name,
        model=submission.model,
        spec=spec,
        spec_digest=digest,
        cpu_millis=int(parse_quantity(resources.cpu or "0") * 1000),
        memory=int(parse_quantity(resources.memory or "0")),
        gpus=int(parse_quantity(resources.gpu or "0")),
        priority=options.priority,
        max_cost=to_units(submission.max_cost),
        fee_ppm=int(context.settings.fee_percent * 10_000),
        requested_miner_id=options.miner_id,
        missing_files=json.dumps(submission.missing) if submission.missing else None,
        created_at=context.clock(),
        webhook_url=submission.webhook_url,
        client_trace_id=tracing.of_request(),
    )


def _insert(
    connection: Connection,
    context: Context,
    record: JobRecord,
    inputs: list[JobArtifact],
    offer_id: str | None,
    answer: JobView,
    repeatable: Repeatable | None,
) -> JobView:
    if repeatable is not None:
        first = _first_answer(connection, record.account_id, repeatable)
        if first is not None:
            return first
    limit = context.settings.max_jobs_per_account
    if counts.total(connection, account_id=record.account_id, states=OPEN) >= limit:
        raise RateLimitExceeded(
            f"You have {limit} unfinished jobs, which is the limit; wait for some to end.",
            retry_after=QUEUE_RETRY_SECONDS,
        )
    _check_inputs(connection, record.account_id, inputs)
    lifecycle.create(connection, record)
    if offer_id is not None:
        marketplace.bind(connection, context, record, offer_id)
    artifact_store.link(connection, record.job_id, "input", inputs)
    if repeatable is not None:
        idempotency_store.add(
            connection,
            record.account_id,
            repeatable.key,
            request_sha256=repeatable.request_sha256,
            answer=json.dumps(answer),
            now=record.created_at,
        )
    return answer


def _first_answer(connection: Connection, account_id: str, repeatable: Repeatable) -> JobView | None:
    found = idempotency_store.find(connection, account_id, repeatable.key)
    if found is None:
        return None
    request_sha256, answer = found
    if request_sha256 != repeatable.request_sha256:
        raise Conflict("This Idempotency-Key was used for another request; use a new one.")
    first: JobView = json.loads(answer)
    return first


def _check_inputs(connection: Connection, account_id: str, inputs: list[JobArtifact]) -> None:
    unknown = {
        file.name: f"there is no artifact {file.artifact_id}; upload it with POST /v1/artifacts"
        for file in inputs
        if artifact_store.readable_by_account(connection, file.artifact_id, account_id) is None
    }
    if unknown:
        raise ValidationFailed("An input file is missing.", unknown)


async def get(context: Context, caller: Caller, job_id: str) -> JobView:
    """The status of a job. Raises `JobNotFound`, also for somebody else's."""
    record = await find(context, caller, job_id)
    return view(record, await estimates(context), context.clock())


async def find(context: Context, caller: Caller, job_id: str) -> JobRecord:
    """The caller's job. Raises `JobNotFound`."""
    return own(await context.database.peek(store.find, job_id), caller, job_id)


async def wait_until_final(context: Context, caller: Caller, job_id: str, seconds: float) -> JobView:
    """The job's status once it is final, or after `seconds`; with `results` if it has completed."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    async with context.feed.subscribe(job_id) as subscription:
        job = await get(context, caller, job_id)
        while job["status"] not in FINAL and (left := deadline - loop.time()) > 0:
            message = await subscription.next(min(left, LOOK_AGAIN_SECONDS))
            if message is None or message["type"] != "job_event":  # tokens change nothing
                job = await get(context, caller, job_id)
    if job["status"] == JobState.COMPLETED:
        job["results"] = (await results(context, caller, job_id))["results"]
    return job


async def wait_for_end(context: Context, caller: Caller, created: JobView, seconds: float) -> JobView:
    """The answer about a new job with what it has come to, at the latest after `seconds`."""
    done = await wait_until_final(context, caller, created["job_id"], seconds)
    return {**created, **{name: done[name] for name in ("status", "results", "error") if name in done}}


def own(record: JobRecord | None, caller: Caller, job_id: str) -> JobRecord:
    """The job, if it is the caller's (or the caller an administrator). Raises `JobNotFound`."""
    if record is None or (caller.role is not Role.ADMIN and record.account_id != caller.account_id):
        raise JobNotFound(job_id)
    return record


def view(record: JobRecord, expected: Estimates, now: float) -> JobView:
    """A job as its client sees it; what does not apply is left out."""
    life = record.life
    answer: JobView = {
        "job_id": record.job_id,
        "status": life.state.value,
        "progress": 100 if life.state is JobState.COMPLETED else int(record.progress),
        "type": record.type,
        "service_id": record.service,
        "name": record.name,
        "created_at": format_time(record.created_at),
        "attempts": life.attempts,
    }
    if life.started_at is not None:
        answer["started_at"] = format_time(life.started_at)
    if life.state is JobState.SUBMITTED:
        done = expected.waiting_job(record.service, record.model, now)
        answer["estimated_completion"] = format_time(done)
    elif life.state is JobState.RUNNING:
        done = expected.running_job(record.service, record.model, life.started_at or now, now)
        answer["estimated_completion"] = format_time(done)
    if record.miner_id is not None:
        answer["miner_id"] = record.miner_id
    if record.offer_id is not None:
        answer["offer_id"] = record.offer_id
    if life.finished_at is not None:
        answer[f"{life.state.value}_at"] = format_time(life.finished_at)
    if record.cost is not None:
        answer["cost"] = format_money(from_units(record.cost))
    if life.state is JobState.FAILED and life.failure is not None:
        answer["error"] = {"code": life.failure.code, "message": life.failure.message}
    if record.missing_files and life.state is JobState.SUBMITTED:
        answer["missing_files"] = json.loads(record.missing_files)
    return answer


async def list_page(
    context: Context,
    caller: Caller,
    *,
    status: JobState | None,
    job_type: str | None,
    limit: int,
    offset: int,
) -> dict[str, Any]:
    """A page of the caller's jobs (of all jobs for an administrator), newest first."""
    service = submissions.service_of(context, job_type).service_id if job_type else None
    account = None if caller.role is Role.ADMIN else account_of(caller)
    records, total = await context.database.read(
        store.page,
        account,
        status=status.value if status else None,
        service=service,
        limit=limit,
        offset=offset,
    )
    expected = await estimates(context)
    now = context.clock()
    jobs = [view(record, expected, now) for record in records]
    return {"jobs": jobs, "total": total, "limit": limit, "offset": offset}


async def cancel(context: Context, caller: Caller, job_id: str) -> JobView:
    """Cancel a job. Cancelling again gives the same answer; an ended job raises `JobAlreadyCompleted`."""
    life, ended = await context.database.write(_cancel, caller, job_id, context.clock())
    if ended is not None:
        context.dispatcher.cancel(ended.lease.miner_id, job_id, ended.lease.fence)
    finished_at = life.finished_at if life.finished_at is not None else context.clock()
    return {"job_id": job_id, "status": life.state.value, "cancelled_at": format_time(finished_at)}


def _cancel(connection: Connection, caller: Caller, job_id: str, now: float) -> tuple[Job, RunEnded | None]:
    record = own(store.find(connection, job_id), caller, job_id)
    if record.life.state is JobState.CANCELLED:
        return record.life, None
    if record.life.state in FINAL:
        raise JobAlreadyCompleted(
            f"Job {job_id} is {record.life.state} already.", {"status": record.life.state}
        )
    life, effects = lifecycle.change(connection, record, Cancel(now), now)
    return life, next((effect for effect in effects if isinstance(effect, RunEnded)), None)


async def results(context: Context, caller: Caller, job_id: str) -> dict[str, Any]:
    """The results of a completed job. Raises `JobNotCompleted` saying the state and the cause."""
    return await context.database.read(_results, caller, job_id)


def _results(connection: Connection, caller: Caller, job_id: str) -> dict[str, Any]:
    record = own(store.find(connection, job_id), caller, job_id)
    life = record.life
    text = store.results_of(connection, job_id)
    if life.state is not JobState.COMPLETED or text is None or life.finished_at is None:
        details: dict[str, Any] = {"status": life.state.value}
        if life.failure is not None:
            details["cause"] = {"code": life.failure.code, "message": life.failure.message}
        raise JobNotCompleted(f"Job {job_id} has no results: it is {life.state}.", details)
    return {
        "job_id": job_id,
        "status": life.state.value,
        "results": json.loads(text),
        "completed_at": format_time(life.finished_at),
    }


async def failed_by_machines(context: Context, job_id: str) -> bool:
    """Whether a failed job was given up after too many runs that were not its input's fault."""
    return await context.database.read(_failed_by_machines, job_id)


def _failed_by_machines(connection: Connection, job_id: str) -> bool:
    record = store.find(connection, job_id)
    ended = store.runs_of(connection, job_id)
    if record is None or not ended or record.life.attempts < record.life.max_attempts:
        return False
    return ended[-1]["outcome"] in (Outcome.RETRIED, Outcome.EXPIRED)
