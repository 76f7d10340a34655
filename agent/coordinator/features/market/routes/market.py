"""`/v1/marketplace` and `/v1/miners/{miner_id}/stats`: what miners offer now, and statistics of all and of each."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from agent.coordinator.features.market import statistics, supply
from agent.coordinator.openapi.declare import errors
from agent.coordinator.routes._callers import AnyCaller, ContextOf, Limit
from agent.core.errors import NotFound
from aitbc.answers import fields
from aitbc.answers.market import MarketMinerList, MarketStats, ServiceSupplyList
from aitbc.answers.miners import MinerStats

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


@router.get("/marketplace/stats", operation_id="marketplace_stats", summary="Statistics")
async def stats(context: ContextOf, _: AnyCaller) -> MarketStats:
    """Returns statistics of all jobs and miners."""
    return await statistics.market(context)


@router.get(
    "/miners/{miner_id}/stats",
    operation_id="miner_stats_stats",
    responses=errors(NotFound),
    summary="Statistics of a miner",
)
async def miner_stats(context: ContextOf, _: AnyCaller, miner_id: fields.MinerId) -> MinerStats:
    """Returns a miner's reputation, jobs and earnings."""
    return await statistics.miner(context, miner_id)
