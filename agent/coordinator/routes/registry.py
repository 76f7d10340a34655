"""`/v1/registry/services`: which services there are, what they take and what they need. Open without a key."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from agent.coordinator.operations import registry as operations
from agent.coordinator.routes._answers import JsonSchema, ServiceDetails, ServiceList, ServiceNeeds, errors
from agent.coordinator.routes._callers import ContextOf
from agent.core import fields
from agent.core.errors import NotFound

router = APIRouter(prefix="/registry/services", tags=["Service registry"])


@router.get("", summary="List services")
async def list_services(
    context: ContextOf,
    category: Annotated[
        str | None, Query(max_length=100, description="Only services of this category")
    ] = None,
    search: Annotated[
        str | None, Query(max_length=200, description="A text in name, description or tags")
    ] = None,
) -> ServiceList:
    """In the order of their ids. Capitals do not matter."""
    found = await operations.services(context, category=category, search=search)
    return ServiceList(services=found, total=len(found))


@router.get("/{service_id}", responses=errors(NotFound), summary="A service in full")
async def get(context: ContextOf, service_id: fields.ServiceId) -> ServiceDetails:
    """With the names of models and adapters that a request may use, and the JSON Schema of its results."""
    return ServiceDetails(**await operations.service(context, service_id))


@router.get("/{service_id}/schema", responses=errors(NotFound), summary="JSON Schema of a service's input")
async def schema(context: ContextOf, service_id: fields.ServiceId) -> JsonSchema:
    """Draft 2020-12. `x-aitbc-file` marks fields that hold the address of a file."""
    return JsonSchema(operations.schema(context, service_id))


@router.get("/{service_id}/requirements", responses=errors(NotFound), summary="Hardware that a service needs")
async def requirements(context: ContextOf, service_id: fields.ServiceId) -> ServiceNeeds:
    """Of the service at least, and of each of its models."""
    return ServiceNeeds(**operations.requirements(context, service_id))
