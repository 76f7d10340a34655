"""`/v1/miners/{miner_id}/stats`: what a miner has done."""

from __future__ import annotations

from fastapi import APIRouter

from agent.coordinator.operations import statistics
from agent.coordinator.routes._answers import MinerStats
from agent.coordinator.routes._callers import AnyCaller, ContextOf

router = APIRouter(prefix="/miners", tags=["Marketplace"])


@router.get("/{miner_id}/stats", summary="Statistics of a miner")
async def stats(context: ContextOf, _: AnyCaller, miner_id: str) -> MinerStats:
    """Its reputation, its jobs, its earnings."""
    return MinerStats(**await statistics.miner(context, miner_id))
