"""Answers about what clients can have now: services and models with prices, and the miners that offer them."""

from __future__ import annotations

from pydantic import Field

from agent.coordinator.operations.answers.miners import ServiceScore
from agent.coordinator.operations.answers.registry import Speed
from agent.core.values import fields
from agent.core.values.fields import Answer


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
