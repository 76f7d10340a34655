"""Answers of the service registry."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from aitbc.answers import fields
from aitbc.answers.fields import example
from aitbc.answers.record import AnswerPart, Record


class Hardware(AnswerPart):
    """What a machine needs to offer a service. Sizes are in bytes; `gpu` is whether a GPU is needed, used if present, or never used."""

    gpu: Literal["required", "optional", "unused"]
    vram: int = Field(ge=0, examples=[2147483648])
    memory: int = Field(ge=0, examples=[4294967296])
    disk: int = Field(ge=0, examples=[1073741824])


class Price(AnswerPart):
    """The lowest and the median price that miners ask for a unit."""

    lowest: fields.Amount
    typical: fields.Amount


class Speed(AnswerPart):
    """The best and the median score of the miners' own benchmarks."""

    metric: str = Field(examples=["token/s"])
    best: float = Field(examples=[2100.5])
    typical: float = Field(examples=[840.0])


class TypicalDuration(AnswerPart):
    """Typical seconds of a run with a model; `model` is null for a service without models."""

    model: str | None = Field(examples=["smollm2-135m-instruct"])
    seconds: float = Field(examples=[2.4])


class SaleUnit(AnswerPart):
    """What people count and buy a service's work by, such as an hour of audio: `units` of the metering unit. `detail` says which kind of it.

    For example: "0.02 credits per picture of 1024x1024 at 20 steps" has the name "picture" and the detail "of 1024x1024 at 20 steps".
    """

    name: str = Field(examples=["hour of audio"])
    plural: str = Field(examples=["hours of audio"])
    detail: str | None = Field(examples=[None])
    units: str = Field(description="Metered units, as a decimal number", examples=["3600"])


SaleUnitsField = Annotated[
    list[SaleUnit],
    Field(description="Smallest first; show prices for the last, and quantities in the largest that fits"),
]


class PlainService(Record):
    """A service, without what features add to it. It is metered in `unit`, or in `cpu_unit` on machines without a GPU."""

    service_id: fields.ServiceId
    name: str = Field(examples=["Language model"])
    category: str = Field(examples=["text"])
    description: str = Field(examples=["Answers a prompt with a language model."])
    tags: list[str] = Field(examples=[["llm", "chat"]])
    unit: str = Field(examples=["token"])
    cpu_unit: str = Field(examples=["token"])
    sale_units: SaleUnitsField
    determinism: str = Field(examples=["the same seed gives the same text on the same machine"])
    resumes: str | None = Field(
        description="The finished work that another miner does not repeat when it takes over a job; null: the job starts again",
        examples=["frames"],
    )
    route: str | None = Field(
        description="The path of its service call", examples=["/v1/services/llm/inference"]
    )
    requirements: Hardware
    miners_online: int = Field(
        ge=0, description="Miners that offer it now; at most a few seconds old", examples=[12]
    )
    price: Price | None = Field(description="Null while no miner is online")
    speed: Speed | None = Field(description="Null while no miner that is online has run the benchmark")
    durations: list[TypicalDuration] = Field(description="One for each model that has been measured")


class PlainServiceDetails(PlainService):
    """A service in full, without what features add to it. `models` and `adapters` are the names that a request may use."""

    models: list[str] = Field(examples=[["smollm2-135m-instruct"]])
    ready: list[str] = Field(examples=[["smollm2-135m-instruct"]])
    adapters: list[str] = Field(examples=[[]])
    output_schema: dict[str, Any] = Field(
        description="JSON Schema of the results", examples=[{"type": "object"}]
    )


class AuditPrice(AnswerPart):
    """What a job with `audited` costs in addition, in percent of its price. `auditors` are online miners that check work of the service."""

    percent: float = Field(ge=0, examples=[10.0])
    compares: str = Field(examples=["The probabilities of the tokens must be close to the auditor's own."])
    auditors: int = Field(ge=0, examples=[2])


class AuditableService(Record):
    """The price of an audit in an answer about a service."""

    audit: AuditPrice | None = Field(description="Null if results of the service cannot be compared")


class Service(AuditableService, PlainServiceDetails):
    """A service. In lists it is without `models`, `ready`, `adapters` and `output_schema`."""

    needs = ("service_id",)


class ServiceList(Record):
    """Services, and their number."""

    services: list[Service]
    total: int


class ModelNeeds(AnswerPart):
    """What a model needs, in bytes: VRAM for full speed and at least, and memory on a machine without a GPU."""

    name: str = Field(examples=["smollm2-135m-instruct"])
    kind: Literal["model", "adapter"]
    vram: int = Field(ge=0, examples=[1073741824])
    vram_min: int = Field(ge=0, examples=[1073741824])
    memory: int = Field(ge=0, examples=[1073741824])


class ServiceRequirements(Hardware):
    """What a service needs, and what each of its models in the catalogue needs."""

    service_id: fields.ServiceId
    models: list[ModelNeeds]


class ValidationProblem(Record):
    """An error or a warning about a field. `field` is a dotted path in `request_data`, or `service_id`."""

    field: str = Field(examples=["model"])
    message: str = Field(examples=["there is no model 'lama-7b' for this service. Did you mean llama-7b?"])


class Validation(Record):
    """`errors` are the reasons for which the request would be refused; `warnings` do not prevent it."""

    model_config = example({"valid": True, "errors": [], "warnings": []})

    valid: bool
    errors: list[ValidationProblem]
    warnings: list[ValidationProblem]
