"""`/v1/miners/{miner_id}/stats`: what a miner has done."""

from __future__ import annotations

from fastapi import APIRouter

from agent.coordinator.openapi.declare import errors
from agent.coordinator.operations.market import statistics
from agent.coordinator.routes._callers import AnyCaller, ContextOf
from agent.core.errors import NotFound
from agent.core.values import fields
from agent.core.values.fields import Answer, example

router = APIRouter(prefix="/miners", tags=["Marketplace"])


class MinerStats(Answer):
    """What a miner has done. `total_jobs` are its results and the runs that failed by its fault (docs/explanation/reputation.md).

    `client_failures` are the runs that failed by their clients' fault, as the miner said.
    """

    model_config = example(
        {
            "miner_id": "miner_1234567890",
            "reputation": 4.8,
            "total_jobs": 500,
            "success_rate": 0.98,
            "average_completion_time": 115.2,
            "total_earned": "125.50",
            "active_since": "2024-01-01T00:00:00Z",
            "failed_runs": 10,
            "client_failures": 12,
            "refused_results": 0,
        }
    )

    miner_id: fields.MinerId
    reputation: float
    total_jobs: int
    success_rate: float
    average_completion_time: float
    total_earned: fields.Amount
    active_since: fields.Time
    failed_runs: int
    client_failures: int
    refused_results: int


@router.get("/{miner_id}/stats", responses=errors(NotFound), summary="Statistics of a miner")
async def stats(context: ContextOf, _: AnyCaller, miner_id: fields.MinerId) -> MinerStats:
    """Its reputation, its jobs, its earnings."""
    return MinerStats(**await statistics.miner(context, miner_id))
