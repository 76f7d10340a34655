"""Submits an OpenAI client's request as a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.coordinator.features.client_apis.submission import AnswerSubmission
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.jobs import submitting
from agent.coordinator.operations.jobs.requests import JobOptions
from agent.coordinator.operations.jobs.validation import MAX_SHOWN, model_names
from agent.coordinator.operations.supply import supply
from agent.core.errors import NotFound, ValidationFailed
from agent.core.values.quantities import parse_time
from runners.api import ServiceDefinition
from runners.near_names import MAX_CONSIDERED, hint


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
    service_id: str,
    parameters: Mapping[str, Any],
    options: JobOptions,
    *,
    key: str | None,
    names: Mapping[str, str],
) -> AnswerSubmission:
    """Submit the request as a job.

    `parameters` are the service's input, `options` the job options; `names` maps fields of the service to the client's names.
    Raises `NotFound` for an unknown model or if the runner of the service is not installed, and what submitting raises.
    """
    definition = context.catalogue.services.get(service_id)
    if definition is None:
        raise NotFound(f"This coordinator has no service {service_id}.", {"service_id": service_id})
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
    return AnswerSubmission(context, caller, job.job_id, service_id, model, created, key is not None)


def _renamed(errors: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    """Return validation errors by the client's names of the fields."""
    renamed = {}
    for field, error in errors.items():
        name, dot, inner_path = field.partition(".")
        renamed[f"{names.get(name, name)}{dot}{inner_path}"] = error
    return renamed
