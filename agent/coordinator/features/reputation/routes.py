"""`/v1/marketplace/stats`, `/v1/miners/{miner_id}/stats`, `/v1/miners/fleet` and `/v1/miners/{miner_id}/earnings`: what miners have done and earned."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from agent.coordinator.features.reputation import fleet, statistics
from agent.coordinator.routes._callers import AnyCaller, ContextOf, OwnerOrAdmin
from agent.coordinator.routes._declare import errors
from agent.core.errors import NotFound
from aitbc.answers import fields
from aitbc.answers.market import MarketStats
from aitbc.answers.miners import MinerEarnings, MinerFleet, MinerStats

router = APIRouter(prefix="/v1", tags=["Marketplace"])
owners = APIRouter(prefix="/v1/miners", tags=["Miners"])


@router.get("/marketplace/stats", operation_id="marketplace_stats", summary="Statistics")
async def stats(context: ContextOf, _: AnyCaller) -> MarketStats:
    """Returns statistics of all jobs and miners."""
    return await context.database.read(statistics.market, context)


@router.get(
    "/miners/{miner_id}/stats",
    operation_id="miner_stats_stats",
    responses=errors(NotFound),
    summary="Statistics of a miner",
)
async def miner_stats(context: ContextOf, _: AnyCaller, miner_id: fields.MinerId) -> MinerStats:
    """Returns a miner's reputation, jobs and earnings."""
    return await context.database.read(statistics.miner, miner_id, context.clock())


@owners.get("/fleet", operation_id="machines_fleet", summary="An owner's machines together")
async def show_fleet(
    context: ContextOf,
    caller: OwnerOrAdmin,
    days: Annotated[int, Query(ge=1, le=366, description="Number of days, including today")] = 30,
) -> MinerFleet:
    """Returns the machines whose enrolment tokens name the same owner as the caller's, with their sums; all of them to administrators."""
    return await context.database.read(fleet.of_caller, context, caller, days)


@owners.get(
    "/{miner_id}/earnings",
    operation_id="machines_earnings",
    responses=errors(NotFound),
    summary="Earnings by day",
)
async def show_earnings(
    context: ContextOf,
    caller: OwnerOrAdmin,
    miner_id: fields.MinerId,
    days: Annotated[int, Query(ge=1, le=366, description="Number of days, including today")] = 30,
) -> MinerEarnings:
    """Returns the miner's earnings on each of the last days, after the operator's fee."""
    return await context.database.read(statistics.by_day, context, caller, miner_id, days)
