"""`/v1/jobs/{job_id}/log`: what the runs of a job wrote."""

from __future__ import annotations

from fastapi import APIRouter

from agent.coordinator.features.job_logs import logs
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.routes._callers import Client, ContextOf
from agent.coordinator.routes._declare import errors
from agent.core.errors import JobNotFound
from aitbc.answers import fields
from aitbc.answers.jobs import JobLog

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1/jobs", tags=["Jobs"])


@router.get(
    "/{job_id}/log", operation_id="jobs_log_of", responses=errors(JobNotFound), summary="Log of a job"
)
async def log_of(context: ContextOf, caller: Client, job_id: fields.JobId) -> JobLog:
    """What the job's runs have written, such as the output of a Python model or warnings of ffmpeg, also while it runs.

    Only the account of a job reads its log.
    """
    return await context.database.read(logs.read, caller, job_id)
