"""`/v1/webhooks`: secrets that sign webhooks, and the delivery of a job's webhooks."""

from __future__ import annotations

from fastapi import APIRouter

from agent.coordinator.features.webhooks import webhooks
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.routes._callers import Client, ContextOf
from agent.coordinator.routes._declare import errors
from agent.core.errors import Conflict, JobNotFound
from aitbc.answers import fields
from aitbc.answers.webhooks import WebhookList, WebhookSecret

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1", tags=["Webhooks"])


@router.get(
    "/webhooks/secret",
    response_model_exclude_none=True,
    responses=errors(Conflict),
    summary="The secret that signs your webhooks",
)
async def secret(context: ContextOf, caller: Client) -> WebhookSecret:
    """A secret for libraries of Standard Webhooks. The first call creates it."""
    return await webhooks.secret(context, caller)


@router.post(
    "/webhooks/secret/rotate",
    response_model_exclude_none=True,
    responses=errors(Conflict),
    summary="Rotate the secret",
)
async def rotate(context: ContextOf, caller: Client) -> WebhookSecret:
    """Creates a new secret. Until `previous_valid_until`, the previous secret signs webhooks too; older secrets no longer do."""
    return await webhooks.rotate_secret(context, caller)


@router.get(
    "/jobs/{job_id}/webhooks",
    response_model_exclude_none=True,
    responses=errors(JobNotFound),
    summary="Delivery of a job's webhook",
)
async def of_job(context: ContextOf, caller: Client, job_id: fields.JobId) -> WebhookList:
    """The list is empty until the job has ended, and for a job without a `webhook_url`."""
    return await webhooks.of_job(context, caller, job_id)
