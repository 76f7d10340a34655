"""Submission of jobs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from agent.coordinator import hooks, lifecycle, tracing
from agent.coordinator.hooks import NewJob
from agent.coordinator.operations.answers import JobCreated
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.files import quota
from agent.coordinator.operations.jobs import feasibility, validation
from agent.coordinator.operations.jobs.estimates import estimates
from agent.coordinator.operations.jobs.names import derived
from agent.coordinator.operations.jobs.requests import JobRequest
from agent.coordinator.operations.jobs.validation import Submission
from agent.coordinator.operations.supply import fleet, supply
from agent.coordinator.store import artifacts, counts, idempotency, locks, queue
from agent.coordinator.store.artifacts import JobArtifact
from agent.coordinator.store.jobs import JobRecord
from agent.core.errors import ApiError, CannotRun, Conflict, RateLimitExceeded, ValidationFailed
from agent.core.jobs import Job, JobState
from agent.core.market.ledger import Entry, divided
from agent.core.values.quantities import format_optional_time, format_time, parse_quantity, to_units
from aitbc.canonical import canonical_json, sha256_hex
from runners.api import ServiceDefinition

log = structlog.get_logger()

OPEN: Final = (JobState.SUBMITTED.value, JobState.RUNNING.value)

QUEUE_RETRY_SECONDS: Final = 10
"""When a client whose queue is full should retry: by then some of its many jobs have ended, or none will soon."""


async def submit(context: Context, caller: Caller, request: JobRequest, key: str | None = None) -> JobCreated:
    """Create a job.

    With an idempotency `key`, a repeated request gets the first answer, and a different one raises `Conflict`.
    """
    service = validation.service_of(context, request.type)
    models = (await supply(context, service.service_id)).models
    submission = validation.check_job(context, request, models)
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
    submission = validation.check_service_call(context, definition, body, models)
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
    record = _new_record(context, caller.account_of("Jobs"), submission)
    if record.quota_bytes:
        context.files.space.check_database(record.quota_bytes)
    # `wait` is the client's wish to wait for a miner that may come later.
    if not submission.options.wait:
        await _require_feasible(context, record, submission, repeatable)
    inputs = [JobArtifact(artifact, path, "") for path, artifact in submission.artifact_ids().items()]
    expected = await estimates(context)
    ends_at = None
    if feasibility.runnable(context, await fleet(context), record):
        ends_at = expected.waiting_job(record.service, record.model, record.created_at)
    created = JobCreated(
        job_id=record.job_id,
        status="submitted",
        created_at=format_time(record.created_at),
        estimated_completion=format_optional_time(ends_at),
        missing_files=json.loads(record.missing_files) if record.missing_files else None,
    )
    new_job = _New(record, submission, inputs, created, repeatable)
    with context.dispatcher.adding(claimable=record.missing_files is None):
        created = await context.database.write_together(_insert, context, new_job, new_job.key)
    # A repeated request got its first answer, and submitted nothing.
    if created.job_id == record.job_id:
        log.info("job_submitted", job_id=record.job_id, service=record.service, trace_id=record.trace_id)
        tracing.note(record.trace_id)
    return created


async def _require_feasible(
    context: Context, record: JobRecord, submission: Submission, repeatable: Repeatable | None
) -> None:
    """Raise `CannotRun` for a job that no known miner can run, unless it is a repeated request, which gets its first answer."""
    try:
        await feasibility.require_feasible(context, NewJob(record, submission.options), submission.units)
    except CannotRun:
        if repeatable is None or not await context.database.read(
            idempotency.find, record.account_id, repeatable.key
        ):
            raise


def _new_record(context: Context, account_id: str, submission: Submission) -> JobRecord:
    job_id = context.new_id("job")
    spec, digest = submission.specification(job_id)
    options = submission.options
    resources = options.resources
    budget, surcharge = to_units(submission.max_cost), None
    if submission.surcharge_percent is not None:
        budget, surcharge = divided(budget, submission.surcharge_percent)
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
        client_trace_id=tracing.of_request(),
        needs=json.dumps(submission.needs) if submission.needs else None,
        restrictions=queue.format_restrictions(submission.restrictions),
        surcharge=surcharge,
    )


def _derived(submission: Submission, names: Mapping[str, str]) -> str:
    """Return the name of a job whose client gave none. That of an opaque one says nothing about its content."""
    if submission.opaque is not None:
        return submission.name
    return derived(submission.definition, submission.parameters, submission.files, names)


def _insert(connection: Connection, context: Context, jobs: Sequence[_New]) -> list[JobCreated | ApiError]:
    """Create jobs. Those of a repeated request are not created again."""
    # In the order of their ids, as everywhere, so that no two transactions wait for each other.
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
                new_job = _admitted(connection, context, job, unfinished, large[account_id])
                admitted.append((new_job, holds.hold(new_job.record)))
                unfinished[account_id] += 1
                large[account_id] += new_job.record.quota_bytes
            outcomes.append(first or job.created)
        except ApiError as error:
            # An error of one job must not undo those of other clients in the same transaction.
            outcomes.append(error)
    created = [(NewJob(new_job.record, new_job.submission.options), entry) for new_job, entry in admitted]
    lifecycle.create_all(connection, created)
    for new_job, _ in admitted:
        _add_details(connection, new_job)
    return outcomes


def _admitted(
    connection: Connection, context: Context, job: _New, unfinished: dict[str, int], large: int
) -> _New:
    """Return the job with the names of its files, as features admit it.

    `unfinished` are the numbers of jobs by account, as far as they are known; `large` are the bytes of large specifications of this
    account in the same transaction.

    Raises `RateLimitExceeded`, `PayloadTooLarge`, `ValidationFailed`, and what features raise.
    """
    record, submission, inputs = job.record, job.submission, job.inputs
    account_id = record.account_id
    # Counted once for each account, and then continued with the jobs of this transaction.
    if account_id not in unfinished:
        unfinished[account_id] = counts.total(connection, account_id=account_id, states=OPEN)
    limit = context.settings.max_jobs_per_account
    if unfinished[account_id] >= limit:
        raise RateLimitExceeded(
            f"You have {limit} unfinished jobs, which is the limit. Wait for some to end.",
            retry_after=QUEUE_RETRY_SECONDS,
        )
    if record.quota_bytes:
        quota.account_budget(context, account_id).check(
            connection, large + record.quota_bytes, context.files.space
        )
    if inputs:
        inputs = _named(connection, account_id, inputs)
        if not record.name_given:
            names = {file.name: file.file_name for file in inputs if file.file_name is not None}
            record = replace(record, name=_derived(submission, names))
    new_job = NewJob(record, submission.options)
    hooks.admit_job(connection, context, new_job)
    return replace(job, record=new_job.record, inputs=inputs)


def _add_details(connection: Connection, job: _New) -> None:
    """Store what belongs to a new job beside its row and its payment."""
    record = job.record
    artifacts.link(connection, record.job_id, "input", job.inputs)
    if job.repeatable is not None:
        idempotency.add(
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
    stored_answer = idempotency.find(connection, account_id, repeatable.key)
    if stored_answer is None:
        return None
    request_sha256, answer = stored_answer
    if request_sha256 != repeatable.request_sha256:
        raise Conflict("This Idempotency-Key was used for another request; use a new one.")
    return JobCreated.model_validate_json(answer)


def _named(connection: Connection, account_id: str, inputs: list[JobArtifact]) -> list[JobArtifact]:
    """Return the input files with their names. Raises `ValidationFailed` for files that the account cannot read."""
    named_files = {
        file: artifacts.readable_by_account(connection, file.artifact_id, account_id) for file in inputs
    }
    unknown = {
        file.name: f"there is no artifact {file.artifact_id}; upload it with POST /v1/artifacts"
        for file, artifact in named_files.items()
        if artifact is None
    }
    if unknown:
        raise ValidationFailed("An input file is missing.", unknown)
    return [
        replace(file, file_name=artifact.file_name)
        for file, artifact in named_files.items()
        if artifact is not None
    ]
