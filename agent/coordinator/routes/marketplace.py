"""`/v1/marketplace`: what miners offer now, and statistics of all."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from agent.coordinator.operations import current_supply
from agent.coordinator.operations.answers.market import MarketStats
from agent.coordinator.operations.answers.supply import MarketMinerList, ServiceSupplyList
from agent.coordinator.operations.market import statistics
from agent.coordinator.routes._callers import AnyCaller, ContextOf, Limit

router = APIRouter(prefix="/v1/marketplace", tags=["Marketplace"])


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
