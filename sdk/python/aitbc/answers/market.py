"""Answers about the marketplace: offers, what can be had now at which price, and statistics."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aitbc.answers import fields
from aitbc.answers.fields import example
from aitbc.answers.miners import SelftestResult, ServiceScore
from aitbc.answers.record import AnswerPart, Record
from aitbc.answers.registry import SaleUnitsField, Speed


class OfferRequirements(AnswerPart):
    """The minimum that the offer's machine has: memory of its largest GPU, and CPU."""

    min_gpu_memory: str | None = None
    min_cpu: str | None = None


class Offer(Record):
    """A miner's price for each metered unit of jobs of a type or name.

    A `standing` offer follows from the miner's configured prices and has neither `max_jobs` nor an expiry.
    """

    model_config = example(
        {
            "offer_id": "offer_1234567890",
            "miner_id": "miner_1234567890",
            "job_type": "image-classification",
            "price": "0.001",
            "status": "active",
            "standing": False,
            "requirements": {"min_gpu_memory": "4Gi", "min_cpu": "2000m"},
            "created_at": "2024-01-01T12:00:00Z",
            "max_jobs": 10,
            "jobs_left": 10,
            "expires_at": "2024-01-01T13:00:00Z",
            "reputation": 4.8,
        }
    )

    offer_id: fields.OfferId
    miner_id: fields.MinerId
    job_type: str
    price: fields.Amount
    status: Literal["active", "exhausted", "expired", "withdrawn"]
    standing: bool
    requirements: OfferRequirements
    created_at: fields.Time
    max_jobs: int | None = None
    jobs_left: int | None = None
    expires_at: fields.Time | None = None
    reputation: float | None = None


class OfferList(Record):
    """Offers. If there are more of your own, `next` is the value of `before` for the next page."""

    offers: list[Offer]
    next: str | None = None


class OfferEnded(Record):
    """An offer that accepts no more jobs."""

    offer_id: fields.OfferId
    status: Literal["expired", "withdrawn"]


class OfferAccepted(Record):
    """The payment of a job that was given to an offer, pending until the job ends. `price` is the price of a unit."""

    model_config = example(
        {
            "transaction_id": "tx_1234567890",
            "status": "pending",
            "created_at": "2024-01-01T12:00:00Z",
            "job_id": "job_1234567890",
            "offer_id": "offer_1234567890",
            "miner_id": "miner_1234567890",
            "price": "0.001",
        }
    )

    transaction_id: fields.TransactionId
    status: Literal["pending", "settled", "refunded"]
    created_at: fields.Time
    job_id: fields.JobId
    offer_id: fields.OfferId
    miner_id: fields.MinerId
    price: fields.Amount


class MarketStats(Record):
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


class Supplied(Record):
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
    sale_units: SaleUnitsField
    speed: Speed | None
    typical_seconds: float | None = Field(
        description="Measured duration of a run, for a service without models", examples=[12.5]
    )
    models: list[ModelSupply]


class ServiceSupplyList(Record):
    """All services, in the order of their ids."""

    services: list[ServiceSupply]


class OfferedService(Record):
    """A service that a miner offers, with the models that it can run without a download."""

    service_id: fields.ServiceId
    price: fields.Amount
    unit: str = Field(examples=["token"])
    sale_units: SaleUnitsField
    speed: ServiceScore | None
    models: list[str] = Field(examples=[["smollm2-135m-instruct"]])


class MarketMiner(Record):
    """A miner as clients see it. It accepts jobs while it is `available`: online, and not paused. `selftest` is null without one."""

    miner_id: fields.MinerId
    name: str = Field(examples=["rig-1"])
    available: bool
    online: bool
    seen_at: fields.Time
    reputation: float = Field(examples=[4.8])
    gpus: list[str] = Field(examples=[["NVIDIA GeForce RTX 4090"]])
    services: list[OfferedService]
    selftest: SelftestResult | None = None


class MarketMinerList(Record):
    """Miners: first those that are available, then by the time at which they were last seen; and their total number."""

    miners: list[MarketMiner]
    total: int = Field(ge=0, examples=[1])
