"""`/v1/registry/services`: the services, their input and their requirements; open without a key."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, JsonValue, RootModel

from agent.coordinator.features.market import registry
from agent.coordinator.features.market.answers import ServiceDetails, ServicePage
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.routes._callers import ContextOf
from agent.coordinator.routes._declare import errors
from agent.core.errors import NotFound
from aitbc.answers import fields
from aitbc.answers.fields import example
from aitbc.answers.registry import ServiceRequirements, Validation

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1/registry/services", tags=["Service registry"])


class InputSchema(RootModel[dict[str, JsonValue]]):
    """A JSON Schema, draft 2020-12."""

    model_config = example(
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {"prompt": {"type": "string"}},
        }
    )


class ValidateRequest(BaseModel, defer_build=True):
    """A service, and the body of a service call: its input and job options."""

    model_config = ConfigDict(
        extra="forbid",
        **example(
            {
                "service_id": "llm_inference",
                "request_data": {"model": "llama-7b", "prompt": "Hello world", "max_tokens": 256},
            }
        ),
    )

    service_id: fields.ServiceId
    request_data: dict[str, Any]


@router.get("", operation_id="registry_list_services", summary="List services")
async def list_services(
    context: ContextOf,
    category: Annotated[
        str | None, Query(max_length=100, description="Only services of this category")
    ] = None,
    search: Annotated[
        str | None,
        Query(max_length=200, description="Only services with this text in name, description or tags"),
    ] = None,
) -> ServicePage:
    """Returns the services in the order of their ids. Case is ignored."""
    services = await registry.services(context, category=category, search=search)
    return ServicePage(services=services, total=len(services))


@router.get(
    "/{service_id}", operation_id="registry_get", responses=errors(NotFound), summary="A service in full"
)
async def get(context: ContextOf, service_id: fields.ServiceId) -> ServiceDetails:
    """Includes the models and adapters that a request may use, and the JSON Schema of the results."""
    return await registry.service(context, service_id)


@router.get(
    "/{service_id}/schema",
    operation_id="registry_schema",
    responses=errors(NotFound),
    summary="JSON Schema of a service's input",
)
async def schema(context: ContextOf, service_id: fields.ServiceId) -> InputSchema:
    """The schema's draft is 2020-12. `x-aitbc-file` marks fields that contain the address of a file."""
    return InputSchema(registry.schema(context, service_id))


@router.get(
    "/{service_id}/requirements",
    operation_id="registry_requirements",
    responses=errors(NotFound),
    summary="Hardware that a service needs",
)
async def requirements(context: ContextOf, service_id: fields.ServiceId) -> ServiceRequirements:
    """Returns the minimum for the service, and the needs of each of its models."""
    return registry.requirements(context, service_id)


@router.post(
    "/validate", operation_id="registry_validate", responses=errors(NotFound), summary="Validate a request"
)
async def validate(context: ContextOf, request: ValidateRequest) -> Validation:
    """Applies the checks of real requests, except whether the caller may read the artifacts.

    There are warnings for a model that no online miner has, an unknown model with a similar name, a service that no online miner
    offers, and a `pricing.max_cost` below every miner's price.
    """
    return await registry.validate(context, request.service_id, request.request_data)
