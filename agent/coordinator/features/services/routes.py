"""`/v1/services/...`: one call per service, which creates a job of its kind.

A call accepts a plain object and validates it against the service's input model together with all other checks, so that all errors
are reported together. The OpenAPI document shows that model with the job options.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Body, Response, status
from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, create_model
from pydantic_core import CoreSchema

from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.job_fields import OPTION_ERRORS
from agent.coordinator.operations.answers import JobCreated
from agent.coordinator.operations.jobs import own_jobs, submitting
from agent.coordinator.operations.jobs.requests import JobOptions
from agent.coordinator.routes._callers import Client, ContextOf, IdempotencyKey, PreferredWait
from agent.coordinator.routes._declare import errors, headers
from agent.core.errors import CannotRun, Conflict, InsufficientBalance, NotFound
from runners.api import ServiceDefinition
from runners.registry import installed

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1/services", tags=["Services"])


class _ShownAs:
    """Gives an annotated type the JSON Schema of a model."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return handler(source)

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(self._model.__pydantic_core_schema__)


def body_model(definition: ServiceDefinition) -> type[BaseModel]:
    """Return the model of a service call's body: the service's input with the job options."""
    inputs = definition.input_model
    options = {
        name: (option.annotation, option)
        for name, option in JobOptions.model_fields.items()
        if name not in inputs.model_fields
    }
    fields: dict[str, Any] = options
    return create_model(definition.service_id, __base__=inputs, __doc__=inputs.__doc__, **fields)


def _call(definition: ServiceDefinition) -> Callable[..., Awaitable[JobCreated]]:
    async def call(
        context: ContextOf,
        caller: Client,
        body: dict[str, Any],
        wait: PreferredWait,
        response: Response,
        key: IdempotencyKey = None,
    ) -> JobCreated:
        created = await submitting.submit_service_call(context, caller, definition, body, key)
        if wait:
            created = await own_jobs.wait_for_end(context, caller, created, wait)
            response.headers["Preference-Applied"] = f"wait={wait}"
        return created

    # Set at run time, since FastAPI evaluates written annotations by name and this type has none.
    call.__annotations__["body"] = Annotated[dict[str, Any], Body(), _ShownAs(body_model(definition))]
    call.__doc__ = definition.description
    return call


def _created(definition: ServiceDefinition) -> dict[str, Any]:
    """Return the documentation of a service call's answer: that of a new job, with the service."""
    declared: Any = JobCreated.model_config["json_schema_extra"]
    (declared_example,) = declared["examples"]
    example = {**declared_example, "service_id": definition.service_id}
    return {
        "content": {"application/json": {"example": example}},
        "headers": headers(
            Preference_Applied="`wait=N`, if `Prefer` requested it",
            X_Trace_ID="The job's id in all logs: the trace id of your `traceparent`, or a new one",
        ),
    }


for _definition in (runner.definition for runner in installed().values()):
    if _definition.route is not None:
        router.add_api_route(
            f"/{_definition.route}",
            _call(_definition),
            methods=["POST"],
            status_code=status.HTTP_201_CREATED,
            response_model_exclude_none=True,
            responses={
                status.HTTP_201_CREATED: _created(_definition),
                **errors(InsufficientBalance, NotFound, Conflict, CannotRun, *OPTION_ERRORS),
            },
            name=_definition.service_id,
            summary=_definition.name,
        )
