"""`/v1/jobs/{job_id}/data`: deletion at the client's request."""

from __future__ import annotations

from fastapi import APIRouter

from agent.coordinator.features.retention import retention
from agent.coordinator.routes._callers import Client, ContextOf
from agent.coordinator.routes._declare import errors
from agent.core.errors import Conflict, JobNotFound
from aitbc.answers import fields
from aitbc.answers.jobs import JobDataDeleted

router = APIRouter(prefix="/v1/jobs", tags=["Jobs"])


@router.delete(
    "/{job_id}/data",
    responses=errors(JobNotFound, Conflict),
    operation_id="jobs_delete_data",
    summary="Delete an ended job's data",
)
async def delete_data(context: ContextOf, caller: Client, job_id: fields.JobId) -> JobDataDeleted:
    """Removes a job from your lists with its parameters, results, log, labels and files. Files that other jobs of yours use remain.

    The receipt and the payment remain, and the receipt can still be verified. Answers 409 unless the job has ended.
    """
    return await retention.delete(context, caller, job_id)
