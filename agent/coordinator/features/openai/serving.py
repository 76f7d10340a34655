"""Submits an OpenAI client's request as a job, and waits for its results."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from agent.coordinator.features.openai.errors import (
    AnswerCancelled,
    AnswerFailed,
    AnswerInvalid,
    AnswerRefused,
    AnswerTimeout,
)
from agent.coordinator.operations.answers.jobs import JobStatus
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.files import artifacts
from agent.coordinator.operations.jobs import jobs, submitting
from agent.coordinator.operations.jobs.requests import JobOptions
from agent.coordinator.operations.jobs.validation import MAX_SHOWN, model_names
from agent.coordinator.operations.supply import supply
from agent.coordinator.store.artifacts import ArtifactRecord
from agent.core.errors import JobAlreadyCompleted, NotFound, ValidationFailed
from agent.core.jobs import FINAL
from agent.core.values.near_names import MAX_CONSIDERED, hint
from agent.core.values.quantities import parse_time
from runners.api import ServiceDefinition

ResultT = TypeVar("ResultT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class AnswerSubmission:
    """A request that became a job. `created` is seconds since the epoch.

    `resumable`: the client can fetch the answer later with its idempotency key, so its leaving does not cancel the job.
    """

    context: Context
    caller: Caller
    job_id: str
    service_id: str
    model: str
    created: int
    resumable: bool


def service(context: Context, service_id: str) -> ServiceDefinition:
    """Return the definition of a service. Raises `NotFound` if its runner is not installed."""
    definition = context.catalogue.services.get(service_id)
    if definition is None:
        raise NotFound(f"This coordinator has no service {service_id}.", {"service_id": service_id})
    return definition


async def known_models(context: Context, definition: ServiceDefinition) -> list[str]:
    """Return the models that a request to this service may name."""
    return model_names(context, definition, (await supply(context, definition.service_id)).models)


def unknown_model(name: str, models: list[str]) -> NotFound:
    """Return the error for an unknown model."""
    short_name = name[:MAX_SHOWN]
    return NotFound(
        f"There is no model {short_name!r}.{hint(name, models)}.",
        {"model": short_name, "known": models[:MAX_CONSIDERED]},
    )


async def submit(
    context: Context,
    caller: Caller,
    definition: ServiceDefinition,
    parameters: Mapping[str, Any],
    options: JobOptions,
    *,
    key: str | None,
    names: Mapping[str, str],
) -> AnswerSubmission:
    """Submit the request as a job.

    `parameters` are the service's input, `options` the job options; `names` maps fields of the service to the client's names.
    Raises `NotFound` for an unknown model, and what submitting raises.
    """
    model = str(parameters["model"])
    models = await known_models(context, definition)
    # Found here, the error can name the nearest model; the service would only say that no miner has it.
    if model not in models:
        raise unknown_model(model, models)
    given_options = options.model_dump(mode="json", include=set(JobOptions.model_fields), exclude_unset=True)
    try:
        job = await submitting.submit_service_call(
            context, caller, definition, {**given_options, **parameters}, key
        )
    # Clients know the names of OpenAI's API and not those of the service.
    except ValidationFailed as error:
        raise ValidationFailed(error.message, _renamed(error.details["fields"], names)) from None
    created = int(parse_time(job.created_at))
    return AnswerSubmission(
        context, caller, job.job_id, definition.service_id, model, created, key is not None
    )


def _renamed(errors: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    """Return validation errors by the client's names of the fields."""
    renamed = {}
    for field, error in errors.items():
        name, dot, inner_path = field.partition(".")
        renamed[f"{names.get(name, name)}{dot}{inner_path}"] = error
    return renamed


async def drop(submission: AnswerSubmission) -> None:
    """Cancel the job of a client that no longer waits, unless the client can resume."""
    if not submission.resumable:
        # The job may end just before the client leaves; then it is paid for anyway.
        with suppress(JobAlreadyCompleted):
            await jobs.cancel(submission.context, submission.caller, submission.job_id)


async def result(
    submission: AnswerSubmission, output: type[ResultT], disconnected: Coroutine[Any, Any, None]
) -> ResultT:
    """Wait for the job's end and return its results. Raises `AnswerFailed`.

    The job is cancelled if `disconnected` returns first (the client has left), or if it takes too long.
    """
    limit = submission.context.settings.answer_seconds
    ending = asyncio.create_task(
        jobs.wait_until_final(submission.context, submission.caller, submission.job_id, limit),
        name=f"answer-{submission.job_id}",
    )
    leaving = asyncio.create_task(disconnected, name=f"answer-disconnect-{submission.job_id}")
    try:
        await asyncio.wait([ending, leaving], return_when=asyncio.FIRST_COMPLETED)
        # Nobody waits for the answer any more, so the client should not pay for the rest of it.
        if not ending.done():
            await drop(submission)
            raise AnswerCancelled(submission.job_id, "The client has left.")
        return await made(submission, *(await ending), output)
    finally:
        # Neither of them may outlive the request, also if it is cancelled.
        for task in (ending, leaving):
            task.cancel()
        await asyncio.gather(ending, leaving, return_exceptions=True)


async def made(
    submission: AnswerSubmission, job: JobStatus, results: dict[str, Any] | None, output: type[ResultT]
) -> ResultT:
    """Return the results of a job that has ended or timed out. Raises `AnswerFailed`."""
    if results is None:
        await _not_made(submission, job)
    try:
        # Miners are not trusted: what they send must have the form that clients are promised.
        return output.model_validate(results)
    except ValidationError:
        raise invalid_results(submission) from None


async def made_file(submission: AnswerSubmission, artifact_id: str) -> ArtifactRecord:
    """Return a file that the results name. Raises `AnswerInvalid` if the caller may not read it, since a miner can name any file."""
    try:
        return await artifacts.find(submission.context, submission.caller, artifact_id)
    except NotFound:
        raise invalid_results(submission) from None


def invalid_results(submission: AnswerSubmission) -> AnswerInvalid:
    """Return the error for results that do not follow the service's definition."""
    message = f"The miner's results of job {submission.job_id} are not valid for {submission.service_id}."
    return AnswerInvalid(submission.job_id, message)


async def _not_made(submission: AnswerSubmission, job: JobStatus) -> NoReturn:
    if job.status not in FINAL:
        await _too_late(submission)
    if job.error is None:
        raise AnswerCancelled(submission.job_id, f"Job {submission.job_id} was cancelled.")
    by_machines = await jobs.failed_by_machines(submission.context, submission.job_id)
    kind = AnswerFailed if by_machines else AnswerRefused
    raise kind(submission.job_id, job.error.message, job.error.code)


async def _too_late(submission: AnswerSubmission) -> NoReturn:
    await drop(submission)
    limit = submission.context.settings.answer_seconds
    if submission.resumable:
        outcome = "It continues: repeat the request with the same Idempotency-Key to wait for it."
    else:
        outcome = "It was cancelled."
    message = f"Job {submission.job_id} did not end within {limit:g} seconds. {outcome}"
    if (await supply(submission.context, submission.service_id)).online == 0:
        message += f" No online miner offers {submission.service_id}. Try again later."
    raise AnswerTimeout(submission.job_id, message)
