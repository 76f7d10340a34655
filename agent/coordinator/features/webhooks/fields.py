"""What webhooks add to a job's request."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, Field


class WebhookOptions(BaseModel, defer_build=True):
    """The option of a job that asks for messages about it."""

    webhook_url: Annotated[str, Field(max_length=2000)] | None = Field(
        default=None,
        description="The address that gets a signed message when the job has ended",
        examples=["https://example.com/hooks"],
    )


FIELDS: Final = {"OptionFields": WebhookOptions}
