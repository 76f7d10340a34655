"""`/v1/marketplace`: offers of miners, and jobs given to them."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, status

from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.openapi.declare import errors
from agent.coordinator.operations.market import marketplace, statistics
from agent.coordinator.operations.market import offers as operations
from agent.coordinator.operations.market.marketplace import AcceptRequest
from agent.coordinator.operations.market.offers import OfferRequest
from agent.coordinator.routes._callers import AnyCaller, Client, ContextOf, Limit, Owner, OwnerOrAdmin
from agent.core.errors import (
    Conflict,
    Forbidden,
    InsufficientBalance,
    JobAlreadyCompleted,
    JobNotFound,
    NotFound,
    OfferNotAvailable,
)
from agent.core.values import fields
from agent.core.values.fields import Answer, example
from agent.core.values.quantities import Money

router = APIRouter(route_class=LargeJsonRoute, prefix="/marketplace", tags=["Marketplace"])


class OfferRequirements(Answer):
    """What the offer's machine has at least: memory of its largest GPU, and CPU."""

    min_gpu_memory: str | None = None
    min_cpu: str | None = None


class Offer(Answer):
    """A miner's price for each metered unit of jobs of a type or name.

    A `standing` offer follows from the miner's configured prices and has neither `max_jobs` nor an end.
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
    """Offers. `next` is what to send as `before` to go on in your own ones, where there are more."""

    offers: list[Offer]
    next: str | None = None


class OfferEnded(Answer):
    """An offer that takes no new jobs any more."""

    offer_id: fields.OfferId
    status: Literal["expired", "withdrawn"]


class OfferAccepted(Answer):
    """The payment of a job that was given to an offer: pending until the job ends. `price` is what a unit will cost."""

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


class MarketStats(Answer):
    """The whole market. `average_completion_time` is seconds from a miner getting a job to its result."""

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


@router.post(
    "/offers",
    status_code=status.HTTP_201_CREATED,
    response_model_exclude_none=True,
    responses=errors(NotFound),
    summary="Offer to run jobs",
)
async def create(context: ContextOf, caller: Owner, request: OfferRequest) -> Offer:
    """For miners. The price is for each metered unit; `requirements` are what your machine has at least."""
    return Offer(**await operations.create(context, caller, request))


@router.get("/offers", response_model_exclude_none=True, responses=errors(Forbidden), summary="List offers")
async def offers(
    context: ContextOf,
    caller: AnyCaller,
    job_type: Annotated[
        str | None, Query(max_length=64, description="Only for jobs of this type or name")
    ] = None,
    max_price: Annotated[
        Money | None, Query(description="Only those that cost at most so much a unit")
    ] = None,
    limit: Limit = 50,
    mine: Annotated[bool, Query(description="A miner's own offers in any state, newest first")] = False,
    before: Annotated[str | None, Query(max_length=64, description="Go on in your own: `next`")] = None,
) -> OfferPage:
    """Those that can be accepted now, the cheapest first."""
    if mine:
        return OfferPage(**await operations.own(context, caller, limit=limit, before=before))
    found = await operations.listed(context, job_type=job_type, max_price=max_price, limit=limit)
    return OfferPage(offers=[Offer(**offer) for offer in found])


@router.delete("/offers/{offer_id}", responses=errors(OfferNotAvailable), summary="Withdraw an offer")
async def withdraw(context: ContextOf, caller: OwnerOrAdmin, offer_id: fields.OfferId) -> OfferEnded:
    """Jobs that have accepted it still run."""
    return OfferEnded(**await operations.withdraw(context, caller, offer_id))


@router.post(
    "/offers/{offer_id}/accept",
    responses=errors(JobNotFound, Conflict, JobAlreadyCompleted, OfferNotAvailable, InsufficientBalance),
    summary="Give a job to an offer",
)
async def accept(
    context: ContextOf, caller: Client, offer_id: fields.OfferId, request: AcceptRequest
) -> OfferAccepted:
    """A submitted job of yours goes to the offer's miner at the offer's price, and is paid when it is completed."""
    return OfferAccepted(**await marketplace.accept(context, caller, offer_id, request))


@router.get("/stats", summary="Statistics")
async def stats(context: ContextOf, _: AnyCaller) -> MarketStats:
    """Of all jobs and miners."""
    return MarketStats(**await statistics.market(context))
