"""Answers about webhooks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aitbc.answers import fields
from aitbc.answers.fields import example
from aitbc.answers.record import AnswerPart, Record


class WebhookSecret(Record):
    """The secret that signs webhooks. Until `previous_valid_until`, the previous secret signs them too."""

    secret: str = Field(examples=["whsec_secret"])
    created_at: fields.Time
    previous_valid_until: fields.Time | None = None


class WebhookDelivery(AnswerPart):
    """A message about a job and its delivery. `gone`: the receiver answered 410, so no more messages are sent to it."""

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
    type: Literal["job.completed", "job.failed", "job.cancelled", "job.waiting"]
    url: str
    status: Literal["pending", "delivered", "failed", "gone"]
    attempts: int
    created_at: fields.Time
    last_attempt_at: fields.Time | None = None
    next_attempt_at: fields.Time | None = None
    finished_at: fields.Time | None = None
    last_status_code: int | None = None
    last_error: str | None = None


class WebhookList(Record):
    """The messages about a job, oldest first."""

    webhooks: list[WebhookDelivery]
