"""`/v1/marketplace`: offers of miners, and jobs given to them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, status

from agent.coordinator.operations import marketplace, statistics
from agent.coordinator.operations import offers as operations
from agent.coordinator.operations.marketplace import AcceptRequest
from agent.coordinator.operations.offers import OfferRequest
from agent.coordinator.routes._answers import MarketStats, Offer, OfferAccepted, OfferEnded, OfferPage
from agent.coordinator.routes._callers import AnyCaller, Client, ContextOf, Owner, OwnerOrAdmin
from agent.core.quantities import Money

router = APIRouter(prefix="/marketplace", tags=["Marketplace"])


@router.post(
    "/offers",
    status_code=status.HTTP_201_CREATED,
    response_model_exclude_none=True,
    summary="Offer to run jobs",
)
async def create(context: ContextOf, caller: Owner, request: OfferRequest) -> Offer:
    """For miners. The price is for each metered unit; `requirements` are what your machine has at least."""
    return Offer(**await operations.create(context, caller, request))


@router.get("/offers", response_model_exclude_none=True, summary="List offers")
async def offers(
    context: ContextOf,
    caller: AnyCaller,
    job_type: Annotated[str | None, Query(max_length=64)] = None,
    max_price: Annotated[Money | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    mine: Annotated[bool, Query(description="A miner's own offers in any state, newest first")] = False,
    before: Annotated[str | None, Query(max_length=64, description="Go on in your own: `next`")] = None,
) -> OfferPage:
    """Those that can be accepted now, the cheapest first."""
    if mine:
        return OfferPage(**await operations.own(context, caller, limit=limit, before=before))
    found = await operations.listed(context, job_type=job_type, max_price=max_price, limit=limit)
    return OfferPage(offers=[Offer(**offer) for offer in found])


@router.delete("/offers/{offer_id}", summary="Withdraw an offer")
async def withdraw(context: ContextOf, caller: OwnerOrAdmin, offer_id: str) -> OfferEnded:
    """Jobs that have accepted it still run."""
    return OfferEnded(**await operations.withdraw(context, caller, offer_id))


@router.post("/offers/{offer_id}/accept", summary="Give a job to an offer")
async def accept(context: ContextOf, caller: Client, offer_id: str, request: AcceptRequest) -> OfferAccepted:
    """A submitted job of yours goes to the offer's miner at the offer's price, and is paid when it is completed."""
    return OfferAccepted(**await marketplace.accept(context, caller, offer_id, request))


@router.get("/stats", summary="Statistics")
async def stats(context: ContextOf, _: AnyCaller) -> MarketStats:
    """Of all jobs and miners."""
    return MarketStats(**await statistics.market(context))
