"""`/v1/audits` and audits of miners and jobs: which results were checked, and with what outcome."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, status
from pydantic import Field

from agent.coordinator.features.audits import canaries, views
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.routes._callers import (
    Admin,
    Before,
    Client,
    ContextOf,
    Limit,
    OwnerOrAdmin,
    RequestBody,
)
from agent.coordinator.routes._declare import errors
from agent.core.errors import Conflict, JobNotFound, NotFound
from aitbc.answers import fields
from aitbc.answers.audits import (
    Audit,
    AuditId,
    AuditList,
    Canary,
    CanaryId,
    CanaryList,
    MinerAudits,
    VerdictName,
)

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1", tags=["Audits"])


class CanaryRequest(RequestBody):
    """The completed job whose result is the known answer, and a note."""

    job_id: Annotated[str, Field(max_length=80, examples=["job_1234567890"])]
    note: Annotated[str, Field(max_length=200, examples=["transcribed by ear"])] = ""


@router.get("/audits", summary="List audits")
async def list_audits(
    context: ContextOf,
    _: Admin,
    miner_id: Annotated[str | None, Query(max_length=80, description="Only audits of this miner")] = None,
    verdict: Annotated[VerdictName | None, Query(description="Only audits with this verdict")] = None,
    limit: Limit = 50,
    before: Before = None,
) -> AuditList:
    """Returns all audits and further opinions, newest first."""
    return await context.database.read(views.listed, context, miner_id, verdict, limit, before)


@router.get("/audits/{audit_id}", responses=errors(NotFound), summary="Get an audit")
async def get_audit(context: ContextOf, _: Admin, audit_id: AuditId) -> Audit:
    """Returns an audit or a further opinion."""
    return await context.database.read(views.get, context, audit_id)


@router.get("/jobs/{job_id}/audit", responses=errors(JobNotFound, NotFound), summary="Get the audit of a job")
async def get_audit_of_job(context: ContextOf, caller: Client, job_id: fields.JobId) -> Audit:
    """Returns the audit of a job, if its client requested one or the coordinator chose the job."""
    return await context.database.read(views.of_job, context, caller, job_id)


@router.get("/miners/{miner_id}/audits", responses=errors(NotFound), summary="List the audits of a miner")
async def list_audits_of_miner(
    context: ContextOf,
    caller: OwnerOrAdmin,
    miner_id: fields.MinerId,
    limit: Limit = 50,
    before: Before = None,
) -> MinerAudits:
    """Returns the decided audits, newest first, with the auditors' distances and reasons."""
    return await context.database.read(views.of_miner, context, caller, miner_id, limit, before)


@router.post(
    "/miners/{miner_id}/audits/{audit_id}/second-opinion",
    status_code=status.HTTP_202_ACCEPTED,
    responses=errors(NotFound, Conflict),
    summary="Ask for a second opinion",
)
async def ask_for_second_opinion(
    context: ContextOf, caller: OwnerOrAdmin, miner_id: fields.MinerId, audit_id: AuditId
) -> Audit:
    """Another auditor compares the result of a failed audit again, once. If that auditor passes the result, the audit counts as unproven."""
    return await views.ask_for_second_opinion(context, caller, miner_id, audit_id)


@router.post(
    "/admin/canaries",
    status_code=status.HTTP_201_CREATED,
    responses=errors(NotFound, Conflict),
    summary="Create a canary",
)
async def create_canary(context: ContextOf, _: Admin, request: CanaryRequest) -> Canary:
    """From now on, the job is submitted again at random moments, for random miners, and their results are compared with its own."""
    return await canaries.create(context, request.job_id, request.note)


@router.get("/admin/canaries", summary="List canaries")
async def list_canaries(context: ContextOf, _: Admin) -> CanaryList:
    """Returns all canaries, newest first."""
    return CanaryList(canaries=await context.database.read(canaries.listed))


@router.delete(
    "/admin/canaries/{canary_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=errors(NotFound),
    summary="Delete a canary",
)
async def delete_canary(context: ContextOf, _: Admin, canary_id: CanaryId) -> None:
    """The job is no longer submitted. Its past audits remain."""
    await canaries.delete(context, canary_id)
