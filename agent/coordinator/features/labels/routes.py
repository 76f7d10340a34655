"""`/v1/jobs/labels`: the labels of jobs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from agent.coordinator.features.labels import labels
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.routes._callers import Client, ContextOf
from aitbc.answers.jobs import LabelCounts

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1/jobs", tags=["Jobs"])


@router.get("/labels", operation_id="jobs_list_labels", summary="Labels of jobs")
async def list_labels(
    context: ContextOf,
    caller: Client,
    key: Annotated[
        str | None, Query(max_length=63, description="Only labels with this key", examples=["project"])
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Maximum number of labels")] = 100,
) -> LabelCounts:
    """The labels of your jobs, with the number of jobs that have each, those of most jobs first; for administrators those of all accounts."""
    return await labels.counts(context, caller, key, limit)
