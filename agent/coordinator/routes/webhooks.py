"""`/v1/webhooks`, and what has come of the messages about a job."""

from __future__ import annotations

from fastapi import APIRouter

from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.openapi.declare import errors
from agent.coordinator.operations import webhooks as operations
from agent.coordinator.operations.answers.webhooks import WebhookList, WebhookSecret
from agent.coordinator.routes._callers import Client, ContextOf
from agent.core.errors import Conflict, JobNotFound
from agent.core.values import fields

router = APIRouter(route_class=LargeJsonRoute, tags=["Webhooks"])


@router.get(
    "/webhooks/secret",
    response_model_exclude_none=True,
    responses=errors(Conflict),
    summary="The secret that signs your webhooks",
)
async def secret(context: ContextOf, caller: Client) -> WebhookSecret:
    """For the libraries of Standard Webhooks. Made when it is first asked for."""
    return await operations.secret(context, caller)


@router.post(
    "/webhooks/secret/rotate",
    response_model_exclude_none=True,
    responses=errors(Conflict),
    summary="Make a new secret",
)
async def rotate(context: ContextOf, caller: Client) -> WebhookSecret:
    """Messages are signed with the old one too until `previous_valid_until`; one that was older still is forgotten."""
    return await operations.rotate_secret(context, caller)


@router.get(
    "/jobs/{job_id}/webhooks",
    response_model_exclude_none=True,
    responses=errors(JobNotFound),
    summary="What has come of a job's webhook",
)
async def of_job(context: ContextOf, caller: Client, job_id: fields.JobId) -> WebhookList:
    """Empty until the job has ended, and without a `webhook_url`."""
    return await operations.of_job(context, caller, job_id)
