"""`/v1/admin/history`: figures over time, for administrators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from agent.coordinator.features.history import series
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.routes._callers import Admin, ContextOf
from aitbc.answers.history import History, Metric, Period

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1/admin", tags=["Administration"])


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
