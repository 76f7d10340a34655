"""`/v1/jobs/{job_id}/explain` and `/v1/miners/{miner_id}/explain`."""

from __future__ import annotations

from fastapi import APIRouter

from agent.coordinator.features.waits import clients, owners
from agent.coordinator.routes._callers import Client, ContextOf, OwnerOrAdmin
from agent.coordinator.routes._declare import errors
from agent.core.errors import JobNotFound, NotFound
from aitbc.answers import fields
from aitbc.answers.jobs import JobExplanation
from aitbc.answers.miners import MinerExplanation

router = APIRouter(prefix="/v1")


@router.get(
    "/jobs/{job_id}/explain",
    operation_id="jobs_explain",
    responses=errors(JobNotFound),
    tags=["Jobs"],
    summary="Why a job does not run",
)
async def explain_job(context: ContextOf, caller: Client, job_id: fields.JobId) -> JobExplanation:
    """For each reason: what and by how much, who can change it, and how. A running or ended job has no reasons.

    docs/reference/waiting.md lists all codes.
    """
    return await clients.of_job(context, caller, job_id)


@router.get(
    "/miners/{miner_id}/explain",
    operation_id="machines_explain",
    responses=errors(NotFound),
    tags=["Miners"],
    summary="Why a miner does not get the waiting jobs",
)
async def explain_miner(
    context: ContextOf, caller: OwnerOrAdmin, miner_id: fields.MinerId
) -> MinerExplanation:
    """Returns, for each kind of waiting job, why the miner does not get it and what would change that."""
    return await context.database.read(owners.of_miner, context, caller, miner_id)
