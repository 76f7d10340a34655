"""`/v1/marketplace/offers`: offers of miners, and jobs given to them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, status

from agent.coordinator.features.offers import acceptance, offers
from agent.coordinator.features.offers.acceptance import AcceptRequest
from agent.coordinator.features.offers.fields import OfferNotAvailable
from agent.coordinator.features.offers.offers import OfferRequest
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.routes._callers import AnyCaller, Client, ContextOf, Limit, Owner, OwnerOrAdmin
from agent.coordinator.routes._declare import errors
from agent.core.errors import (
    Conflict,
    Forbidden,
    InsufficientBalance,
    JobAlreadyCompleted,
    JobNotFound,
    NotFound,
)
from agent.core.values.quantities import Money
from aitbc.answers import fields
from aitbc.answers.market import Offer, OfferAccepted, OfferEnded, OfferList

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1/marketplace/offers", tags=["Marketplace"])


@router.post(
    "",
    operation_id="marketplace_create",
    status_code=status.HTTP_201_CREATED,
    response_model_exclude_none=True,
    responses=errors(NotFound),
    summary="Offer to run jobs",
)
async def create(context: ContextOf, caller: Owner, request: OfferRequest) -> Offer:
    """For miners. The price is for each metered unit; `requirements` are the minimum that your machine has."""
    return await offers.create(context, caller, request)


@router.get(
    "",
    operation_id="marketplace_offers",
    response_model_exclude_none=True,
    responses=errors(Forbidden),
    summary="List offers",
)
async def list_offers(
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
) -> OfferList:
    """Returns the offers that can be accepted now, cheapest first."""
    if mine:
        return await offers.own(context, caller, limit=limit, before_id=before)
    return await offers.available(context, job_type=job_type, max_price=max_price, limit=limit)


@router.delete(
    "/{offer_id}",
    operation_id="marketplace_withdraw",
    responses=errors(Conflict, OfferNotAvailable),
    summary="Withdraw an offer",
)
async def withdraw(context: ContextOf, caller: OwnerOrAdmin, offer_id: fields.OfferId) -> OfferEnded:
    """Jobs that were given to the offer still run."""
    return await offers.withdraw(context, caller, offer_id)


@router.post(
    "/{offer_id}/accept",
    operation_id="marketplace_accept",
    responses=errors(JobNotFound, Conflict, JobAlreadyCompleted, OfferNotAvailable, InsufficientBalance),
    summary="Give a job to an offer",
)
async def accept(
    context: ContextOf, caller: Client, offer_id: fields.OfferId, request: AcceptRequest
) -> OfferAccepted:
    """Gives one of your submitted jobs to the offer's miner, at the offer's price. The job is paid when it is completed."""
    return await acceptance.accept(context, caller, offer_id, request)
