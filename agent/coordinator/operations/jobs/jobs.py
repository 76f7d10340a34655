"""Clients' operations on jobs: submit, wait, list, cancel, fetch results."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from agent.coordinator import lifecycle, tracing
from agent.coordinator.operations.answers.jobs import (
    JobCancelled,
    JobCreated,
    JobError,
    JobResults,
    JobStatus,
)
from agent.coordinator.operations.caches import Estimates
from agent.coordinator.operations.callers import Caller, Role
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.files import quota
from agent.coordinator.operations.jobs import feasibility
from agent.coordinator.operations.jobs import sealed as sealed_jobs
from agent.coordinator.operations.jobs import validation as submissions
from agent.coordinator.operations.jobs.estimates import estimates
from agent.coordinator.operations.jobs.names import derived
from agent.coordinator.operations.jobs.requests import JobRequest
from agent.coordinator.operations.jobs.validation import Submission
from agent.coordinator.operations.market import marketplace
from agent.coordinator.operations.supply import fleet, supply
from agent.coordinator.store import artifacts as artifact_store
from agent.coordinator.store import counts, job_lists, locks, queue
from agent.coordinator.store import idempotency as idempotency_store
from agent.coordinator.store import jobs as store
from agent.coordinator.store.artifacts import JobArtifact
from agent.coordinator.store.jobs import JobRecord
from agent.core.errors import (
    ApiError,
    CannotRun,
    Conflict,
    JobAlreadyCompleted,
    JobNotCompleted,
    JobNotFound,
    RateLimitExceeded,
    ValidationFailed,
)
from agent.core.jobs import FINAL, Cancel, Job, JobState, Outcome, RunEnded
from agent.core.market.audits import divided
from agent.core.market.ledger import Entry
from agent.core.matching import Restrictions
from agent.core.values.quantities import format_money, format_time, from_units, parse_quantity, to_units
from aitbc.canonical import canonical_json, sha256_hex
from runners.api import ServiceDefinition

log = structlog.get_logger()

OPEN: Final = (JobState.SUBMITTED.value, JobState.RUNNING.value)

QUEUE_RETRY_SECONDS: Final = 10
"""When a client whose queue is full should retry: by then some of its many jobs have ended, or none will soon."""
POLL_SECONDS: Final = 5.0
"""How often a waiting answer reads the job's state, in case a message was lost."""


async def submit(context: Context, caller: Caller, request: JobRequest, key: str | None = None) -> JobCreated:
    """Create a job.

    With an idempotency `key`, a repeated request gets the first answer, and a different one raises `Conflict`.
    """
    service = submissions.service_of(context, request.type)
    models = (await supply(context, service.service_id)).models
    submission = submissions.check_job(context, request, models)
    return await add(context, caller, submission, key, {} if key is None else request.model_dump(mode="json"))


async def submit_service_call(
    context: Context,
    caller: Caller,
    definition: ServiceDefinition,
    body: Mapping[str, Any],
    key: str | None = None,
) -> JobCreated:
    """Create a job from the body of a service call; `key` as for `submit`."""
    models = (await supply(context, definition.service_id)).models
    submission = submissions.check_service_call(context, definition, body, models)
    request = {"service": definition.service_id, "body": body}
    created = await add(context, caller, submission, key, request)
    return created.model_copy(update={"service_id": definition.service_id})


@dataclass(frozen=True, slots=True)
class Repeatable:
    """An idempotency key, and the digest of the request that carries it."""

    key: str
    request_sha256: str


@dataclass(frozen=True, slots=True)
class _New:
    """A job to be created with its input files, and the answer about it."""

    record: JobRecord
    submission: Submission
    inputs: list[JobArtifact]
    created: JobCreated
    repeatable: Repeatable | None

    @property
    def key(self) -> Hashable:
        """The key of `Database.write_together`: a repeated request waits for the first one."""
        record, repeatable = self.record, self.repeatable
        return record.job_id if repeatable is None else (record.account_id, repeatable.key)


def _repeatable(key: str | None, request: Mapping[str, Any]) -> Repeatable | None:
    return None if key is None else Repeatable(key, sha256_hex(canonical_json(request)))


async def add(
    context: Context, caller: Caller, submission: Submission, key: str | None, request: Mapping[str, Any]
) -> JobCreated:
    """Create a job from a valid request; `key` as for `submit`, with which `request` identifies the request."""
    repeatable = _repeatable(key, request)
    record = _new_record(context, account_of(caller), submission)
    if record.quota_bytes:
        context.space.check_database(record.quota_bytes)
    if not submission.options.wait and submission.options.offer_id is None:
        await _require_possible(context, record, submission, repeatable)
    inputs = [JobArtifact(artifact, path, "") for path, artifact in submission.artifact_ids().items()]
    expected = await estimates(context)
    done = None
    if feasibility.takeable(context, await fleet(context), record):
        done = expected.waiting_job(record.service, record.model, record.created_at)
    created = JobCreated(
        job_id=record.job_id,
        status="submitted",
        created_at=format_time(record.created_at),
        estimated_completion=_time(done),
        missing_files=json.loads(record.missing_files) if record.missing_files else None,
    )
    new = _New(record, submission, inputs, created, repeatable)
    with context.dispatcher.adding(when=record.missing_files is None):
        created = await context.database.write_together(_insert, context, new, new.key)
    if created.job_id == record.job_id:  # a repeated request gets its first answer
        log.info("job_submitted", job_id=record.job_id, service=record.service, trace_id=record.trace_id)
        tracing.note(record.trace_id)
    return created


async def _require_possible(
    context: Context, record: JobRecord, submission: Submission, repeatable: Repeatable | None
) -> None:
    """Raise `CannotRun` for a job that no known miner can run, unless it is a repeated request, which gets its first answer."""
    try:
        await feasibility.require_possible(context, record, submission.units)
    except CannotRun:
        if repeatable is None or not await context.database.read(
            idempotency_store.find, record.account_id, repeatable.key
        ):
            raise


def account_of(caller: Caller) -> str:
    """Return the account that owns the caller's jobs. Raises `Conflict` if it has none."""
    if caller.account_id is None:
        raise Conflict("Jobs belong to an account; use a client's key.")
    return caller.account_id


def _new_record(context: Context, account_id: str, submission: Submission) -> JobRecord:
    job_id = context.new_id("job")
    spec, digest = submission.specification(job_id)
    options = submission.options
    resources = options.resources
    budget, audit_hold = to_units(submission.max_cost), None
    if submission.audit_percent is not None:
        budget, audit_hold = divided(budget, submission.audit_percent)
    restrictions = Restrictions(
        audited=audit_hold is not None, min_reputation=float(options.min_reputation or 0.0)
    )
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
        name=submission.options.name or _derived(submission, {}),
        name_given=int(submission.options.name is not None),
        labels=json.dumps(submission.options.labels) if submission.options.labels else None,
        model=submission.model,
        spec=spec,
        spec_digest=digest,
        cpu_millis=int(parse_quantity(resources.cpu or "0") * 1000),
        memory=int(parse_quantity(resources.memory or "0")),
        gpus=int(parse_quantity(resources.gpu or "0")),
        priority=options.priority,
        max_cost=budget,
        fee_ppm=int(context.settings.fee_percent * 10_000),
        requested_miner_id=options.miner_id,
        missing_files=json.dumps(submission.missing) if submission.missing else None,
        created_at=context.clock(),
        webhook_url=submission.webhook_url,
        client_trace_id=tracing.of_request(),
        needs=json.dumps(submission.needs) if submission.needs else None,
        restrictions=queue.format_restrictions(restrictions),
        audit_hold=audit_hold,
    )


def _derived(submission: Submission, names: Mapping[str, str]) -> str:
    """Return the name of a job whose client gave none. That of a sealed one says nothing about its content."""
    if submission.sealed is not None:
        return submission.name
    return derived(submission.definition, submission.parameters, submission.files, names)


def _insert(connection: Connection, context: Context, jobs: Sequence[_New]) -> list[JobCreated | ApiError]:
    """Create jobs. Those of a repeated request are not created again."""
    for account_id in sorted({job.record.account_id for job in jobs}):
        locks.account(connection, account_id)
    outcomes: list[JobCreated | ApiError] = []
    unfinished: dict[str, int] = {}
    large = Counter[str]()
    holds = lifecycle.Holds(connection)
    admitted: list[tuple[_New, Entry]] = []
    for job in jobs:
        account_id = job.record.account_id
        try:
            first = _first_answer(connection, account_id, job.repeatable)
            if first is None:
                new = _admitted(connection, context, job, unfinished, large[account_id])
                admitted.append((new, holds.hold(new.record)))
                unfinished[account_id] += 1
                large[account_id] += new.record.quota_bytes
            outcomes.append(first or job.created)
        except ApiError as error:
            outcomes.append(error)
    lifecycle.create_all(connection, [(new.record, entry) for new, entry in admitted])
    for new, _ in admitted:
        _add_details(connection, context, new)
    return outcomes


def _admitted(
    connection: Connection, context: Context, job: _New, unfinished: dict[str, int], large: int
) -> _New:
    """Return the job with the names of its files.

    `unfinished` are the numbers of jobs by account, as far as they are known; `large` are the bytes of large specifications of this
    account in the same transaction.

    Raises `RateLimitExceeded`, `PayloadTooLarge`, `ValidationFailed`, and what `sealed.require_key` raises.
    """
    record, submission, inputs = job.record, job.submission, job.inputs
    account_id = record.account_id
    if account_id not in unfinished:
        unfinished[account_id] = counts.total(connection, account_id=account_id, states=OPEN)
    limit = context.settings.max_jobs_per_account
    if unfinished[account_id] >= limit:
        raise RateLimitExceeded(
            f"You have {limit} unfinished jobs, which is the limit. Wait for some to end.",
            retry_after=QUEUE_RETRY_SECONDS,
        )
    if record.quota_bytes:
        quota.account_budget(context, account_id).check(connection, large + record.quota_bytes, context.space)
    if inputs:
        inputs = _named(connection, account_id, inputs)
        if not record.name_given:
            names = {file.name: file.file_name for file in inputs if file.file_name is not None}
            record = replace(record, name=_derived(submission, names))
        job = replace(job, record=record, inputs=inputs)
    if submission.sealed is not None:
        offer_id = submission.options.offer_id
        sealed_jobs.require_key(
            connection, context, record.requested_miner_id, offer_id, submission.sealed.key_id
        )
    return job


def _add_details(connection: Connection, context: Context, job: _New) -> None:
    """Store what belongs to a new job beside its row and its payment."""
    record, options = job.record, job.submission.options
    job_lists.add_labels(connection, record.job_id, record.account_id, options.labels)
    if options.offer_id is not None:
        marketplace.bind(connection, context, record, options.offer_id)
    artifact_store.link(connection, record.job_id, "input", job.inputs)
    if job.repeatable is not None:
        idempotency_store.add(
            connection,
            record.account_id,
            job.repeatable.key,
            request_sha256=job.repeatable.request_sha256,
            answer=job.created.model_dump_json(exclude_none=True),
            now=record.created_at,
        )


def _first_answer(
    connection: Connection, account_id: str, repeatable: Repeatable | None
) -> JobCreated | None:
    if repeatable is None:
        return None
    found = idempotency_store.find(connection, account_id, repeatable.key)
    if found is None:
        return None
    request_sha256, answer = found
    if request_sha256 != repeatable.request_sha256:
        raise Conflict("This Idempotency-Key was used for another request; use a new one.")
    return JobCreated.model_validate_json(answer)


def _named(connection: Connection, account_id: str, inputs: list[JobArtifact]) -> list[JobArtifact]:
    """Return the input files with their names. Raises `ValidationFailed` for files that the account cannot read."""
    found = {
        file: artifact_store.readable_by_account(connection, file.artifact_id, account_id) for file in inputs
    }
    unknown = {
        file.name: f"there is no artifact {file.artifact_id}; upload it with POST /v1/artifacts"
        for file, artifact in found.items()
        if artifact is None
    }
    if unknown:
        raise ValidationFailed("An input file is missing.", unknown)
    return [
        replace(file, file_name=artifact.file_name)
        for file, artifact in found.items()
        if artifact is not None
    ]


async def get(context: Context, caller: Caller, job_id: str) -> JobStatus:
    """Return the status of a job. Raises `JobNotFound`, also for another account's job."""
    record = await find(context, caller, job_id)
    return view(record, await estimates_for(context, record), context.clock())


async def estimates_for(context: Context, record: JobRecord) -> Estimates | None:
    """Return the estimates for a job, None while no known miner can take it."""
    waits = record.life.state is JobState.SUBMITTED
    if waits and not feasibility.takeable(context, await fleet(context), record):
        return None
    return await estimates(context)


async def find(context: Context, caller: Caller, job_id: str) -> JobRecord:
    """Return the caller's job. Raises `JobNotFound`."""
    return own(await context.database.peek(store.find, job_id), caller, job_id)


async def wait_until_final(
    context: Context, caller: Caller, job_id: str, seconds: float
) -> tuple[JobStatus, dict[str, Any] | None]:
    """Wait until a job ends, or for `seconds`. Return its status, and its results if it has completed."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    async with context.feed.subscribe(job_id) as subscription:
        job = await get(context, caller, job_id)
        while job.status not in FINAL and (left := deadline - loop.time()) > 0:
            message = await subscription.next(min(left, POLL_SECONDS))
            if message is None or message["type"] != "job_event":  # events do not change the state
                job = await get(context, caller, job_id)
    if job.status != "completed":
        return job, None
    return job, (await results(context, caller, job_id)).results


async def wait_for_end(context: Context, caller: Caller, created: JobCreated, seconds: float) -> JobCreated:
    """Return the answer about a new job with its state and results once it ends, or after `seconds`."""
    job, found = await wait_until_final(context, caller, created.job_id, seconds)
    return created.model_copy(update={"status": job.status, "results": found, "error": job.error})


def own(record: JobRecord | None, caller: Caller, job_id: str) -> JobRecord:
    """Return the job if it belongs to the caller or the caller is an administrator. Raises `JobNotFound`, also for deleted data."""
    if (
        record is None
        or record.deleted_at is not None
        or (caller.role is not Role.ADMIN and record.account_id != caller.account_id)
    ):
        raise JobNotFound(job_id)
    return record


def view(record: JobRecord, expected: Estimates | None, now: float) -> JobStatus:
    """Return the answer that describes a job. Without `expected`, it has no estimate."""
    return JobStatus(**described(record, expected, now))


def described(record: JobRecord, expected: Estimates | None, now: float) -> dict[str, Any]:
    """Return the fields of the answer that describes a job."""
    life, state = record.life, record.life.state
    done = None
    if expected is None:
        pass
    elif state is JobState.SUBMITTED:
        done = expected.waiting_job(record.service, record.model, now)
    elif state is JobState.RUNNING:
        done = expected.running_job(record.service, record.model, life.started_at or now, now)
    failure = life.failure if state is JobState.FAILED else None
    missing = record.missing_files if state is JobState.SUBMITTED else None
    finished_at = _time(life.finished_at)
    return {
        "job_id": record.job_id,
        "status": state.value,
        "progress": 100 if state is JobState.COMPLETED else int(record.progress),
        "type": record.type,
        "service_id": record.service,
        "name": record.name,
        "labels": json.loads(record.labels) if record.labels else None,
        "created_at": format_time(record.created_at),
        "attempts": life.attempts,
        "started_at": _time(life.started_at),
        "estimated_completion": _time(done),
        "completed_at": finished_at if state is JobState.COMPLETED else None,
        "failed_at": finished_at if state is JobState.FAILED else None,
        "cancelled_at": finished_at if state is JobState.CANCELLED else None,
        "account_id": record.account_id,
        "miner_id": record.miner_id,
        "offer_id": record.offer_id,
        "cost": None if record.cost is None else format_money(from_units(record.cost)),
        "error": None if failure is None else JobError(code=failure.code, message=failure.message),
        "missing_files": json.loads(missing) if missing else None,
    }


def _time(moment: float | None) -> str | None:
    return None if moment is None else format_time(moment)


async def cancel(context: Context, caller: Caller, job_id: str) -> JobCancelled:
    """Cancel a job. Repeating it gets the same answer. Raises `JobNotFound`, and `JobAlreadyCompleted` for an ended job."""
    life, ended = await context.database.write(_cancel, caller, job_id, context.clock())
    if ended is not None:
        context.dispatcher.cancel(ended.lease.miner_id, job_id, ended.lease.fence)
    finished_at = life.finished_at if life.finished_at is not None else context.clock()
    return JobCancelled(job_id=job_id, status="cancelled", cancelled_at=format_time(finished_at))


def _cancel(connection: Connection, caller: Caller, job_id: str, now: float) -> tuple[Job, RunEnded | None]:
    record = own(store.lock(connection, job_id), caller, job_id)
    if record.life.state is JobState.CANCELLED:
        return record.life, None
    if record.life.state in FINAL:
        raise JobAlreadyCompleted(
            f"Job {job_id} is already {record.life.state}.", {"status": record.life.state}
        )
    life, effects = lifecycle.change(connection, record, Cancel(now), now)
    return life, next((effect for effect in effects if isinstance(effect, RunEnded)), None)


async def results(context: Context, caller: Caller, job_id: str) -> JobResults:
    """Return the results of a completed job. Raises `JobNotFound`, and `JobNotCompleted` with the state and the cause."""
    return await context.database.read(_results, caller, job_id)


def _results(connection: Connection, caller: Caller, job_id: str) -> JobResults:
    record = own(store.find(connection, job_id), caller, job_id)
    life = record.life
    text = store.results_of(connection, job_id)
    if life.state is not JobState.COMPLETED or text is None or life.finished_at is None:
        details: dict[str, Any] = {"status": life.state.value}
        if life.failure is not None:
            details["cause"] = {"code": life.failure.code, "message": life.failure.message}
        raise JobNotCompleted(f"Job {job_id} has no results because it is {life.state}.", details)
    return JobResults(
        job_id=job_id,
        status="completed",
        results=json.loads(text),
        completed_at=format_time(life.finished_at),
    )


async def failed_by_machines(context: Context, job_id: str) -> bool:
    """Return whether a job failed without any fault of its input."""
    return await context.database.read(_failed_by_machines, job_id)


def _failed_by_machines(connection: Connection, job_id: str) -> bool:
    record = store.find(connection, job_id)
    ended = store.runs_of(connection, job_id)
    if record is None or not ended or record.life.state is not JobState.FAILED:
        return False
    return ended[-1]["outcome"] in (Outcome.RETRIED, Outcome.EXPIRED)
