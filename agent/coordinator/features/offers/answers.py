"""Answers about offers."""

from __future__ import annotations

from typing import Literal

from agent.core.values import fields
from agent.core.values.fields import Answer, example


class OfferRequirements(Answer):
    """The minimum that the offer's machine has: memory of its largest GPU, and CPU."""

    min_gpu_memory: str | None = None
    min_cpu: str | None = None


class Offer(Answer):
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


class OfferPage(Answer):
    """Offers. If there are more of your own, `next` is the value of `before` for the next page."""

    offers: list[Offer]
    next: str | None = None


class OfferEnded(Answer):
    """An offer that accepts no more jobs."""

    offer_id: fields.OfferId
    status: Literal["expired", "withdrawn"]


class OfferAccepted(Answer):
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
