"""A request of an OpenAI client as a job of the caller, and its answer as far as the job gets."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.files import artifacts
from agent.coordinator.operations.jobs import jobs
from agent.coordinator.operations.jobs.jobs import JobView
from agent.coordinator.operations.jobs.validation import MAX_SHOWN, JobOptions, model_names
from agent.coordinator.operations.supply import supply
from agent.coordinator.store.artifacts import ArtifactRecord
from agent.core.errors import (
    AnswerCancelled,
    AnswerFailed,
    AnswerInvalid,
    AnswerRefused,
    AnswerTimeout,
    JobAlreadyCompleted,
    NotFound,
    ValidationFailed,
)
from agent.core.jobs import FINAL, JobState
from agent.core.values.near_names import hint
from agent.core.values.quantities import parse_time
from runners.api import ServiceDefinition

ResultT = TypeVar("ResultT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that became a job. `created` is seconds since the epoch.

    `kept` says that the client can come back for the answer with its idempotency key, so that its leaving cancels nothing.
    """

    context: Context
    caller: Caller
    job_id: str
    service_id: str
    model: str
    created: int
    kept: bool


def service(context: Context, service_id: str) -> ServiceDefinition:
    """The definition of a service. Raises `NotFound` where its runner is not installed."""
    definition = context.services.get(service_id)
    if definition is None:
        raise NotFound(f"This coordinator has no service {service_id}.", {"service_id": service_id})
    return definition


async def known_models(context: Context, definition: ServiceDefinition) -> list[str]:
    """The models that a request to this service may name."""
    return model_names(context, definition, (await supply(context, definition.service_id)).models)


def unknown_model(name: str, known: list[str]) -> NotFound:
    """The error for a model that there is not."""
    shown = name[:MAX_SHOWN]
    return NotFound(
        f"There is no model {shown!r} here.{hint(name, known)}.", {"model": shown, "known": known}
    )


async def ask(
    context: Context,
    caller: Caller,
    definition: ServiceDefinition,
    parameters: Mapping[str, Any],
    options: JobOptions,
    *,
    key: str | None,
    names: Mapping[str, str],
) -> Asked:
    """Make the request a job.

    `parameters` are the service's input, `options` whatever else the client says of a job, `names` what the client calls
    the fields that have another name with us. Raises `NotFound` for an unknown model, and what submitting raises.
    """
    model = str(parameters["model"])
    known = await known_models(context, definition)
    if model not in known:
        raise unknown_model(model, known)
    given = options.model_dump(mode="json", include=set(JobOptions.model_fields), exclude_unset=True)
    try:
        job = await jobs.submit_service_call(context, caller, definition, {**given, **parameters}, key)
    except ValidationFailed as error:
        raise ValidationFailed(error.message, _renamed(error.details["fields"], names)) from None
    created = int(parse_time(job["created_at"]))
    return Asked(context, caller, job["job_id"], definition.service_id, model, created, key is not None)


def _renamed(fields: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    """Errors by the names of fields that the client knows."""
    renamed = {}
    for place, fault in fields.items():
        name, dot, rest = place.partition(".")
        renamed[f"{names.get(name, name)}{dot}{rest}"] = fault
    return renamed


async def drop(asked: Asked) -> None:
    """Cancel the job of somebody who does not wait any more."""
    if not asked.kept:
        with suppress(JobAlreadyCompleted):
            await jobs.cancel(asked.context, asked.caller, asked.job_id)


async def result(asked: Asked, output: type[ResultT], gone: Coroutine[Any, Any, None]) -> ResultT:
    """What the job has made, once it has ended. Raises `AnswerFailed`.

    The job is cancelled when `gone` returns first (the client has left), or when it takes too long.
    """
    limit = asked.context.settings.answer_seconds
    ending = asyncio.create_task(
        jobs.wait_until_final(asked.context, asked.caller, asked.job_id, limit), name=f"answer-{asked.job_id}"
    )
    leaving = asyncio.create_task(gone, name=f"answer-gone-{asked.job_id}")
    try:
        await asyncio.wait([ending, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            await drop(asked)
            raise AnswerCancelled(asked.job_id, "The client has left.")
        return await made(asked, await ending, output)
    finally:
        for task in (ending, leaving):
            task.cancel()
        await asyncio.gather(ending, leaving, return_exceptions=True)


async def made(asked: Asked, job: JobView, output: type[ResultT]) -> ResultT:
    """What a job has made that has ended, or been waited for long enough. Raises `AnswerFailed`."""
    if job["status"] != JobState.COMPLETED:
        await _not_made(asked, job)
    try:
        return output.model_validate(job["results"])
    except ValidationError:
        raise nonsense(asked) from None


async def made_file(asked: Asked, artifact_id: str) -> ArtifactRecord:
    """A file that the results name. Raises `AnswerFailed` for one that the caller may not read: miners can name what they like."""
    try:
        return await artifacts.find(asked.context, asked.caller, artifact_id)
    except NotFound:
        raise nonsense(asked) from None


def nonsense(asked: Asked) -> AnswerInvalid:
    """The error for results that are not what the service defines."""
    message = f"The miner of job {asked.job_id} answered what {asked.service_id} does not."
    return AnswerInvalid(asked.job_id, message)


async def _not_made(asked: Asked, job: JobView) -> NoReturn:
    if job["status"] not in FINAL:
        await _too_late(asked)
    if job["status"] == JobState.CANCELLED:
        raise AnswerCancelled(asked.job_id, f"Job {asked.job_id} was cancelled.")
    error = job["error"]
    by_machines = await jobs.failed_by_machines(asked.context, asked.job_id)
    kind = AnswerFailed if by_machines else AnswerRefused
    raise kind(asked.job_id, error["message"], error["code"])


async def _too_late(asked: Asked) -> NoReturn:
    await drop(asked)
    limit = asked.context.settings.answer_seconds
    if asked.kept:
        then = "it goes on: repeat the request with the same Idempotency-Key to wait for it"
    else:
        then = "it was cancelled"
    message = f"Job {asked.job_id} gave no answer within {limit:g} seconds; {then}."
    if (await supply(asked.context, asked.service_id)).online == 0:
        message += f" No miner offers {asked.service_id} now."
    raise AnswerTimeout(asked.job_id, message)
