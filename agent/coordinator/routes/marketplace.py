"""`/v1/marketplace`: offers of miners, and jobs given to them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, status

from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.openapi.declare import errors
from agent.coordinator.operations import current_supply
from agent.coordinator.operations.answers.market import (
    MarketStats,
    Offer,
    OfferAccepted,
    OfferEnded,
    OfferPage,
)
from agent.coordinator.operations.answers.supply import MarketMinerList, ServiceSupplyList
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
from agent.core.values.quantities import Money

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1/marketplace", tags=["Marketplace"])


@router.post(
    "/offers",
    status_code=status.HTTP_201_CREATED,
    response_model_exclude_none=True,
    responses=errors(NotFound),
    summary="Offer to run jobs",
)
async def create(context: ContextOf, caller: Owner, request: OfferRequest) -> Offer:
    """For miners. The price is for each metered unit; `requirements` are the minimum that your machine has."""
    return await operations.create(context, caller, request)


@router.get("/offers", response_model_exclude_none=True, responses=errors(Forbidden), summary="List offers")
async def offers(
    context: ContextOf,
    caller: AnyCaller,
    job_type: Annotated[
        str | None, Query(max_length=64, description="Only for jobs of this type or name")
    ] = None,
    max_price: Annotated[Money | None, Query(description="Maximum price of a unit")] = None,
    limit: Limit = 50,
    mine: Annotated[bool, Query(description="A miner's own offers in any state, newest first")] = False,
    before: Annotated[
        str | None,
        Query(
            max_length=64, description="With `mine`, continue before this offer: `next` of the previous page"
        ),
    ] = None,
) -> OfferPage:
    """Returns the offers that can be accepted now, cheapest first."""
    if mine:
        return await operations.own(context, caller, limit=limit, before=before)
    found = await operations.listed(context, job_type=job_type, max_price=max_price, limit=limit)
    return OfferPage(offers=found)


@router.delete(
    "/offers/{offer_id}", responses=errors(Conflict, OfferNotAvailable), summary="Withdraw an offer"
)
async def withdraw(context: ContextOf, caller: OwnerOrAdmin, offer_id: fields.OfferId) -> OfferEnded:
    """Jobs that were given to the offer still run."""
    return await operations.withdraw(context, caller, offer_id)


@router.post(
    "/offers/{offer_id}/accept",
    responses=errors(JobNotFound, Conflict, JobAlreadyCompleted, OfferNotAvailable, InsufficientBalance),
    summary="Give a job to an offer",
)
async def accept(
    context: ContextOf, caller: Client, offer_id: fields.OfferId, request: AcceptRequest
) -> OfferAccepted:
    """Gives one of your submitted jobs to the offer's miner, at the offer's price. The job is paid when it is completed."""
    return await marketplace.accept(context, caller, offer_id, request)


@router.get("/services", summary="Services and models that are available now")
async def services(context: ContextOf, _: AnyCaller) -> ServiceSupplyList:
    """Returns every service and model with its lowest price; at most a few seconds old."""
    return await current_supply.services(context)


@router.get("/miners", summary="Miners of the market")
async def miners(
    context: ContextOf,
    _: AnyCaller,
    service: Annotated[
        str | None, Query(max_length=64, description="Only miners that offer this service")
    ] = None,
    limit: Limit = 50,
    offset: Annotated[int, Query(ge=0, description="How many miners to skip")] = 0,
) -> MarketMinerList:
    """Returns available miners first, then those last seen most recently; at most a few seconds old."""
    return await current_supply.miners(context, service_id=service, limit=limit, offset=offset)


@router.get("/stats", summary="Statistics")
async def stats(context: ContextOf, _: AnyCaller) -> MarketStats:
    """Returns statistics of all jobs and miners."""
    return await statistics.market(context)
