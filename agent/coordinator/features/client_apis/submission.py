"""A request of an OpenAI client that became a job."""

from __future__ import annotations

from dataclasses import dataclass

from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Context


@dataclass(frozen=True, slots=True)
class AnswerSubmission:
    """A request that became a job. `created` is seconds since the epoch, and `model` the name that the request has for its model.

    `resumable`: the client can fetch the answer later with its idempotency key, so its leaving does not cancel the job.
    """

    context: Context
    caller: Caller
    job_id: str
    service_id: str
    model: str
    created: int
    resumable: bool
