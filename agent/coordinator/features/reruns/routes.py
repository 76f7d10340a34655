"""`/v1/jobs/{job_id}/rerun`."""

from __future__ import annotations

from fastapi import APIRouter, Response, status

from agent.coordinator.features.reruns import reruns
from agent.coordinator.features.reruns.reruns import RerunRequest
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.job_fields import OPTION_ERRORS
from agent.coordinator.operations.answers import JobCreated
from agent.coordinator.operations.jobs import own_jobs
from agent.coordinator.routes._callers import Client, ContextOf, IdempotencyKey, PreferredWait
from agent.coordinator.routes._declare import errors
from agent.core.errors import Conflict, InsufficientBalance, JobNotFound, NotFound
from aitbc.answers import fields

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1/jobs", tags=["Jobs"])


@router.post(
    "/{job_id}/rerun",
    operation_id="jobs_rerun_job",
    status_code=status.HTTP_201_CREATED,
    response_model_exclude_none=True,
    responses=errors(JobNotFound, InsufficientBalance, NotFound, Conflict, *OPTION_ERRORS),
    summary="Run a job again",
)
async def rerun_job(
    context: ContextOf,
    caller: Client,
    job_id: fields.JobId,
    wait: PreferredWait,
    response: Response,
    request: RerunRequest | None = None,
    key: IdempotencyKey = None,
) -> JobCreated:
    """Creates a job with the input and the options of this one, except for what the body changes. An offer is not accepted again."""
    created = await reruns.rerun(context, caller, job_id, request or RerunRequest(), key)
    if wait:
        created = await own_jobs.wait_for_end(context, caller, created, wait)
        response.headers["Preference-Applied"] = f"wait={wait}"
    return created
