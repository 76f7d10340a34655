"""`/v1/miners/{miner_id}/stats`: a miner's record."""

from __future__ import annotations

from fastapi import APIRouter

from agent.coordinator.openapi.declare import errors
from agent.coordinator.operations.answers.market import MinerStats
from agent.coordinator.operations.market import statistics
from agent.coordinator.routes._callers import AnyCaller, ContextOf
from agent.core.errors import NotFound
from agent.core.values import fields

router = APIRouter(prefix="/v1/miners", tags=["Marketplace"])


@router.get("/{miner_id}/stats", responses=errors(NotFound), summary="Statistics of a miner")
async def stats(context: ContextOf, _: AnyCaller, miner_id: fields.MinerId) -> MinerStats:
    """Returns a miner's reputation, jobs and earnings."""
    return await statistics.miner(context, miner_id)
