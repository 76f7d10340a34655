"""`/v1/miners/{miner_id}/outlook` and `/v1/miners/demand`: what a machine like this earns here, and with which models."""

from __future__ import annotations

from fastapi import APIRouter

from agent.coordinator.features.outlook import demand, outlook
from agent.coordinator.features.outlook.demand import AskedModels
from agent.coordinator.routes._callers import ContextOf, OwnerOrAdmin
from agent.coordinator.routes._declare import errors
from agent.core.errors import NotFound
from aitbc.answers import fields
from aitbc.answers.miners import MinerOutlook

router = APIRouter(prefix="/v1/miners", tags=["Miners"])


@router.get("/demand", operation_id="machines_demand", summary="Models that are asked for")
async def show_demand(context: ContextOf, _: OwnerOrAdmin) -> AskedModels:
    """Returns which models were paid for in the last days, and for which jobs wait now, so that miners can choose what to download. Counts only."""
    return await demand.of_models(context)


@router.get(
    "/{miner_id}/outlook",
    operation_id="machines_outlook",
    responses=errors(NotFound),
    summary="What a machine like this earns",
)
async def show_outlook(context: ContextOf, caller: OwnerOrAdmin, miner_id: fields.MinerId) -> MinerOutlook:
    """Returns what machines with the same cards have earned for each hour online in the last days, after the operator's fee, or what is missing to say so."""
    return await context.database.read(outlook.of_machine, context, caller, miner_id)
