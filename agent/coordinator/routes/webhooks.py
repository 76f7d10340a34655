"""`/v1/webhooks`, and what has come of the messages about a job."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import Field

from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.openapi.declare import errors
from agent.coordinator.operations import webhooks as operations
from agent.coordinator.routes._callers import Client, ContextOf
from agent.core.errors import Conflict, JobNotFound
from agent.core.values import fields
from agent.core.values.fields import Answer, example

router = APIRouter(route_class=LargeJsonRoute, tags=["Webhooks"])


class WebhookSecret(Answer):
    """What webhooks are signed with; the secret before it is used beside it until `previous_valid_until`."""

    secret: str = Field(examples=["whsec_secret"])
    created_at: fields.Time
    previous_valid_until: fields.Time | None = None


class WebhookDelivery(Answer):
    """A message about a job and what has come of it. `gone`: its receiver answered 410 and gets no more."""

    model_config = example(
        {
            "webhook_id": "msg_1234567890",
            "type": "job.completed",
            "url": "https://example.com/hooks",
            "status": "delivered",
            "attempts": 1,
            "created_at": "2024-01-01T12:04:00Z",
            "last_attempt_at": "2024-01-01T12:04:00Z",
            "finished_at": "2024-01-01T12:04:00Z",
            "last_status_code": 204,
        }
    )

    webhook_id: str
    type: Literal["job.completed", "job.failed", "job.cancelled"]
    url: str
    status: Literal["pending", "delivered", "failed", "gone"]
    attempts: int
    created_at: fields.Time
    last_attempt_at: fields.Time | None = None
    next_attempt_at: fields.Time | None = None
    finished_at: fields.Time | None = None
    last_status_code: int | None = None
    last_error: str | None = None


class WebhookList(Answer):
    """The messages about a job, oldest first."""

    webhooks: list[WebhookDelivery]


@router.get(
    "/webhooks/secret",
    response_model_exclude_none=True,
    responses=errors(Conflict),
    summary="The secret that signs your webhooks",
)
async def secret(context: ContextOf, caller: Client) -> WebhookSecret:
    """For the libraries of Standard Webhooks. Made when it is first asked for."""
    return WebhookSecret(**await operations.secret(context, caller))


@router.post(
    "/webhooks/secret/rotate",
    response_model_exclude_none=True,
    responses=errors(Conflict),
    summary="Make a new secret",
)
async def rotate(context: ContextOf, caller: Client) -> WebhookSecret:
    """Messages are signed with the old one too until `previous_valid_until`; one that was older still is forgotten."""
    return WebhookSecret(**await operations.rotate_secret(context, caller))


@router.get(
    "/jobs/{job_id}/webhooks",
    response_model_exclude_none=True,
    responses=errors(JobNotFound),
    summary="What has come of a job's webhook",
)
async def of_job(context: ContextOf, caller: Client, job_id: fields.JobId) -> WebhookList:
    """Empty until the job has ended, and without a `webhook_url`."""
    return WebhookList(**await operations.of_job(context, caller, job_id))
