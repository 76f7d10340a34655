"""`/v1/marketplace`: what miners offer now."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from agent.coordinator.features.market import supply
from agent.coordinator.routes._callers import AnyCaller, ContextOf, Limit
from aitbc.answers.market import MarketMinerList, ServiceSupplyList

router = APIRouter(prefix="/v1", tags=["Marketplace"])


@router.get(
    "/marketplace/services",
    operation_id="marketplace_services",
    summary="Services and models that are available now",
)
async def services(context: ContextOf, _: AnyCaller) -> ServiceSupplyList:
    """Returns every service and model with its lowest price; at most a few seconds old."""
    return await supply.services(context)


@router.get("/marketplace/miners", operation_id="marketplace_miners", summary="Miners of the market")
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
    return await supply.miners(context, service_id=service, limit=limit, offset=offset)
