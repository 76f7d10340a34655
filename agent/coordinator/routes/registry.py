"""`/v1/registry/services`: which services there are, what they take and what they need. Open without a key."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, JsonValue, RootModel

from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.openapi.declare import errors
from agent.coordinator.operations import registry as operations
from agent.coordinator.routes._callers import ContextOf
from agent.core.errors import NotFound
from agent.core.values import fields
from agent.core.values.fields import Answer, example

router = APIRouter(route_class=LargeJsonRoute, prefix="/registry/services", tags=["Service registry"])


class Hardware(Answer):
    """What a machine needs to offer a service. Sizes are bytes; `gpu` says whether one is needed, used if there, or never used."""

    gpu: Literal["required", "optional", "unused"]
    vram: int = Field(ge=0, examples=[2147483648])
    memory: int = Field(ge=0, examples=[4294967296])
    disk: int = Field(ge=0, examples=[1073741824])


class Price(Answer):
    """What miners ask for a unit: the lowest price, and the median."""

    lowest: fields.Amount
    typical: fields.Amount


class Speed(Answer):
    """What miners have measured of themselves: the best value, and the median."""

    metric: str = Field(examples=["token/s"])
    best: float = Field(examples=[2100.5])
    typical: float = Field(examples=[840.0])


class TypicalDuration(Answer):
    """Typical seconds of a run with a model; `model` is null where the service has none."""

    model: str | None = Field(examples=["smollm2-135m-instruct"])
    seconds: float = Field(examples=[2.4])


class ServiceSummary(Answer):
    """A service. `unit` is what it is metered in, `cpu_unit` where there is no GPU; `determinism` how two results compare."""

    service_id: fields.ServiceId
    name: str = Field(examples=["Language model"])
    category: str = Field(examples=["text"])
    description: str = Field(examples=["Answers a prompt with a language model."])
    tags: list[str] = Field(examples=[["llm", "chat"]])
    unit: str = Field(examples=["token"])
    cpu_unit: str = Field(examples=["token"])
    determinism: str = Field(examples=["the same seed gives the same text on the same machine"])
    resumes: str | None = Field(
        description="What another miner need not repeat when it takes a job over; null: the job starts again",
        examples=["frames"],
    )
    route: str | None = Field(
        description="The path of its service call", examples=["/v1/services/llm/inference"]
    )
    requirements: Hardware
    miners_online: int = Field(ge=0, description="Miners that offer it now, a few seconds old", examples=[12])
    price: Price | None = Field(description="Null while no miner is online")
    speed: Speed | None = Field(description="Null while no miner that is online has measured itself")
    durations: list[TypicalDuration] = Field(description="Of each model that has been measured")


class ServiceList(Answer):
    """Services and how many they are."""

    services: list[ServiceSummary]
    total: int = Field(ge=0, examples=[1])


class ServiceDetails(ServiceSummary):
    """A service in full. `models` are the names that a request may use, `adapters` those that it may use beside.

    `ready` are those of them that a miner who is online has, a few seconds old. With another one a job waits until it is fetched.
    """

    models: list[str] = Field(examples=[["smollm2-135m-instruct"]])
    ready: list[str] = Field(examples=[["smollm2-135m-instruct"]])
    adapters: list[str] = Field(examples=[[]])
    output_schema: dict[str, Any] = Field(
        description="JSON Schema of the results", examples=[{"type": "object"}]
    )


class InputSchema(RootModel[dict[str, JsonValue]]):
    """A JSON Schema, draft 2020-12."""

    model_config = example(
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {"prompt": {"type": "string"}},
        }
    )


class ModelNeeds(Answer):
    """What a model takes, in bytes: VRAM at full speed and at least, and memory where there is no GPU."""

    name: str = Field(examples=["smollm2-135m-instruct"])
    kind: Literal["model", "adapter"]
    vram: int = Field(ge=0, examples=[1073741824])
    vram_min: int = Field(ge=0, examples=[1073741824])
    memory: int = Field(ge=0, examples=[1073741824])


class ServiceNeeds(Hardware):
    """What a service needs, and each model of the catalogue beside it."""

    service_id: fields.ServiceId
    models: list[ModelNeeds]


class ValidationProblem(Answer):
    """A validation error or a warning. `field` is a dotted path into `request_data`, or `service_id`."""

    field: str = Field(examples=["model"])
    message: str = Field(examples=["there is no model 'lama-7b' for this service. Did you mean llama-7b?"])


class ValidateRequest(BaseModel):
    """A service and the body of a call of it: its input, and job options beside it."""

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


class Validation(Answer):
    """`errors` are what such a request would be refused for, `warnings` what its client should know before."""

    model_config = example({"valid": True, "errors": [], "warnings": []})

    valid: bool
    errors: list[ValidationProblem]
    warnings: list[ValidationProblem]


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
async def schema(context: ContextOf, service_id: fields.ServiceId) -> InputSchema:
    """Draft 2020-12. `x-aitbc-file` marks fields that hold the address of a file."""
    return InputSchema(operations.schema(context, service_id))


@router.get("/{service_id}/requirements", responses=errors(NotFound), summary="Hardware that a service needs")
async def requirements(context: ContextOf, service_id: fields.ServiceId) -> ServiceNeeds:
    """Of the service at least, and of each of its models."""
    return ServiceNeeds(**operations.requirements(context, service_id))


@router.post("/validate", responses=errors(NotFound), summary="Validate a request")
async def validate(context: ContextOf, request: ValidateRequest) -> Validation:
    """Checked by what checks real requests, except whether the caller may read the artifacts that it names.

    Warnings tell of a model that no miner has at present or whose name is near a known one, of a service that nobody
    offers at present, and of a `pricing.max_cost` below every price on offer.
    """
    return Validation(**await operations.validate(context, request.service_id, request.request_data))
