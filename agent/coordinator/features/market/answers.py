"""Answers about services, what clients can have of them now, and statistics."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from agent.coordinator import job_fields
from agent.coordinator.operations.answers.miners import ServiceScore
from agent.core.values import fields
from agent.core.values.fields import Answer, example


class Hardware(Answer):
    """What a machine needs to offer a service. Sizes are in bytes; `gpu` is whether a GPU is needed, used if present, or never used."""

    gpu: Literal["required", "optional", "unused"]
    vram: int = Field(ge=0, examples=[2147483648])
    memory: int = Field(ge=0, examples=[4294967296])
    disk: int = Field(ge=0, examples=[1073741824])


class Price(Answer):
    """The lowest and the median price that miners ask for a unit."""

    lowest: fields.Amount
    typical: fields.Amount


class Speed(Answer):
    """The best and the median score of the miners' own benchmarks."""

    metric: str = Field(examples=["token/s"])
    best: float = Field(examples=[2100.5])
    typical: float = Field(examples=[840.0])


class TypicalDuration(Answer):
    """Typical seconds of a run with a model; `model` is null for a service without models."""

    model: str | None = Field(examples=["smollm2-135m-instruct"])
    seconds: float = Field(examples=[2.4])


class _ServiceSummary(Answer):
    service_id: fields.ServiceId
    name: str = Field(examples=["Language model"])
    category: str = Field(examples=["text"])
    description: str = Field(examples=["Answers a prompt with a language model."])
    tags: list[str] = Field(examples=[["llm", "chat"]])
    unit: str = Field(examples=["token"])
    cpu_unit: str = Field(examples=["token"])
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


class ServiceSummary(job_fields.ServiceFields, _ServiceSummary):
    """A service. It is metered in `unit`, or in `cpu_unit` on machines without a GPU; `determinism` states how two results compare."""


class ServiceDetails(ServiceSummary):
    """A service in full. `models` and `adapters` are the names that a request may use.

    `ready` are those that a miner which is online has on disk; it is at most a few seconds old. A job with another model waits until a
    miner has fetched it.
    """

    models: list[str] = Field(examples=[["smollm2-135m-instruct"]])
    ready: list[str] = Field(examples=[["smollm2-135m-instruct"]])
    adapters: list[str] = Field(examples=[[]])
    output_schema: dict[str, Any] = Field(
        description="JSON Schema of the results", examples=[{"type": "object"}]
    )


class ModelNeeds(Answer):
    """What a model needs, in bytes: VRAM for full speed and at least, and memory on a machine without a GPU."""

    name: str = Field(examples=["smollm2-135m-instruct"])
    kind: Literal["model", "adapter"]
    vram: int = Field(ge=0, examples=[1073741824])
    vram_min: int = Field(ge=0, examples=[1073741824])
    memory: int = Field(ge=0, examples=[1073741824])


class ServiceNeeds(Hardware):
    """What a service needs, and what each of its models in the catalogue needs."""

    service_id: fields.ServiceId
    models: list[ModelNeeds]


class ValidationProblem(Answer):
    """An error or a warning about a field. `field` is a dotted path in `request_data`, or `service_id`."""

    field: str = Field(examples=["model"])
    message: str = Field(examples=["there is no model 'lama-7b' for this service. Did you mean llama-7b?"])


class Validation(Answer):
    """`errors` are the reasons for which the request would be refused; `warnings` do not prevent it."""

    model_config = example({"valid": True, "errors": [], "warnings": []})

    valid: bool
    errors: list[ValidationProblem]
    warnings: list[ValidationProblem]


class Supplied(Answer):
    """What miners that are online offer now. `price` is the lowest for a `unit`; both are null while `miners` is 0."""

    available: bool = Field(description="Whether a miner would run a job now")
    miners: int = Field(ge=0, description="Miners that are online and would run it", examples=[12])
    price: fields.Amount | None
    unit: str | None = Field(examples=["token"])


class ModelSupply(Supplied):
    """A model that jobs may name. `typical_seconds` is the measured duration of a run; null before the first ones.

    A miner that is online would download a `downloadable` model before it runs the first job.
    """

    name: str = Field(examples=["smollm2-135m-instruct"])
    downloadable: bool
    typical_seconds: float | None = Field(examples=[2.4])


class ServiceSupply(Supplied):
    """A service and its models. `speed` is that of the miners' benchmarks; null while no miner that is online has run one."""

    service_id: fields.ServiceId
    name: str = Field(examples=["Language model"])
    speed: Speed | None
    typical_seconds: float | None = Field(
        description="Measured duration of a run, for a service without models", examples=[12.5]
    )
    models: list[ModelSupply]


class ServiceSupplyList(Answer):
    """All services, in the order of their ids."""

    services: list[ServiceSupply]


class OfferedService(Answer):
    """A service that a miner offers, with the models that it can run without a download."""

    service_id: fields.ServiceId
    price: fields.Amount
    unit: str = Field(examples=["token"])
    speed: ServiceScore | None
    models: list[str] = Field(examples=[["smollm2-135m-instruct"]])


class MarketMiner(Answer):
    """A miner as clients see it. It accepts jobs while it is `available`: online, and not paused."""

    miner_id: fields.MinerId
    name: str = Field(examples=["rig-1"])
    available: bool
    online: bool
    seen_at: fields.Time
    reputation: float = Field(examples=[4.8])
    gpus: list[str] = Field(examples=[["NVIDIA GeForce RTX 4090"]])
    services: list[OfferedService]


class MarketMinerList(Answer):
    """Miners: first those that are available, then by the time at which they were last seen; and their total number."""

    miners: list[MarketMiner]
    total: int = Field(ge=0, examples=[1])


class MarketStats(Answer):
    """Statistics of the whole market. `average_completion_time` is the seconds from a job's assignment to its result."""

    model_config = example(
        {
            "total_jobs": 10000,
            "active_jobs": 150,
            "completed_jobs": 9800,
            "failed_jobs": 50,
            "average_completion_time": 120.5,
            "total_volume": "1500.50",
            "active_miners": 500,
        }
    )

    total_jobs: int
    active_jobs: int
    completed_jobs: int
    failed_jobs: int
    average_completion_time: float
    total_volume: fields.Amount
    active_miners: int


class MinerStats(Answer):
    """A miner's record. `total_jobs` counts its results and the runs that failed through its own fault (docs/explanation/reputation.md).

    `client_failures` counts the runs that, according to the miner, failed through their clients' fault.
    """

    model_config = example(
        {
            "miner_id": "miner_1234567890",
            "reputation": 4.8,
            "total_jobs": 500,
            "success_rate": 0.98,
            "average_completion_time": 115.2,
            "total_earned": "125.50",
            "active_since": "2024-01-01T00:00:00Z",
            "failed_runs": 10,
            "client_failures": 12,
            "refused_results": 0,
        }
    )

    miner_id: fields.MinerId
    reputation: float
    total_jobs: int
    success_rate: float
    average_completion_time: float
    total_earned: fields.Amount
    active_since: fields.Time
    failed_runs: int
    client_failures: int
    refused_results: int
