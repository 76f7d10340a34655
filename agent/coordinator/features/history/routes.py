"""`/v1/admin/history`: figures over time, for administrators. `/v1/miners/{miner_id}/gpu-history`: the last day of a machine's GPUs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from agent.coordinator.features.history import gpus, series
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.routes._callers import Admin, ContextOf, OwnerOrAdmin
from agent.coordinator.routes._declare import errors
from agent.core.errors import NotFound
from aitbc.answers import fields
from aitbc.answers.history import History, Metric, Period
from aitbc.answers.miners import MinerGpuHistory

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1/admin", tags=["Administration"])
machines = APIRouter(route_class=LargeJsonRoute, prefix="/v1/miners", tags=["Miners"])


@router.get("/history", operation_id="admin_history", summary="Jobs, money and miners over time")
async def history(
    context: ContextOf,
    _: Admin,
    metric: Annotated[
        Metric,
        Query(
            description=(
                "`jobs`: submitted, completed, failed, cancelled; `queue`: waiting, running; `money`: credited, debited, paid, fees; "
                "`miners`: online"
            )
        ),
    ] = Metric.JOBS,
    period: Annotated[Period, Query(description="The time until now")] = Period.DAY,
) -> History:
    """A point for each interval of the period, oldest first; the last interval has not ended.

    Jobs and money are counted, the queue and the miners are averages of samples. A miner that is paused is not online.
    """
    return await series.series(context, metric, period)


@machines.get(
    "/{miner_id}/gpu-history",
    operation_id="machines_gpu_history",
    responses=errors(NotFound),
    summary="A miner's GPUs in the last 24 hours",
)
async def gpu_history(context: ContextOf, caller: OwnerOrAdmin, miner_id: fields.MinerId) -> MinerGpuHistory:
    """Returns what the miner reported about each GPU at the beginning of each interval in which it was online, oldest first."""
    return await context.database.read(gpus.of_miner, context, caller, miner_id)
