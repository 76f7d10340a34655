"""Submits an OpenAI client's request as a job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agent.coordinator.features.client_apis.naming import is_built_in, resolve
from agent.coordinator.features.client_apis.submission import AnswerSubmission, ClientCall
from agent.coordinator.operations.jobs import submitting
from agent.coordinator.operations.jobs.requests import JobOptions
from agent.coordinator.store import idempotency, jobs
from agent.core.errors import NotFound, ValidationFailed
from agent.core.values.quantities import parse_time


async def submit(
    call: ClientCall,
    service_id: str,
    parameters: Mapping[str, Any],
    options: JobOptions,
    *,
    key: str | None,
    names: Mapping[str, str],
) -> AnswerSubmission:
    """Submit the request as a job.

    `parameters` are the service's input, in which `model` may have any of its names (`naming`); `options` the job options; `names` maps fields of the service to the client's names.
    Raises `NotFound` for an unknown model or if the runner of the service is not installed, and what submitting raises.
    """
    definition = call.context.catalogue.services.get(service_id)
    if definition is None:
        raise NotFound(f"This coordinator has no service {service_id}.", {"service_id": service_id})
    name = str(parameters["model"])
    # Resolved here, the error can name the nearest model; the service would only say that no miner has it.
    model = await _first_model(call, key) if key is not None and is_built_in(definition, name) else None
    parameters = {**parameters, "model": model or await resolve(call.context, definition, name)}
    given_options = options.model_dump(mode="json", include=set(JobOptions.model_fields), exclude_unset=True)
    try:
        job = await submitting.submit_service_call(
            call.context, call.caller, definition, {**given_options, **parameters}, key
        )
    # Clients know the names of OpenAI's API and not those of the service.
    except ValidationFailed as error:
        raise ValidationFailed(error.message, _renamed(error.details["fields"], names)) from None
    created = int(parse_time(job.created_at))
    return AnswerSubmission(call, job.job_id, service_id, name, created, key is not None)


async def _first_model(call: ClientCall, key: str) -> str | None:
    """Return the model of the first request with this key: the same name may stand for another model by now."""
    first = await call.context.database.read(idempotency.find, call.caller.account_of("Jobs"), key)
    if first is None:
        return None
    job = await call.context.database.read(jobs.find, json.loads(first[1])["job_id"])
    return None if job is None else job.model


def _renamed(errors: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    """Return validation errors by the client's names of the fields."""
    renamed = {}
    for field, error in errors.items():
        name, dot, inner_path = field.partition(".")
        renamed[f"{names.get(name, name)}{dot}{inner_path}"] = error
    return renamed
