"""A client's request to one of these APIs, and the job that it became."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Context


@dataclass(frozen=True, slots=True)
class ClientCall:
    """A request, and who sent it. A route gets it by a parameter of the type `declared.Call`.

    `disconnected` returns when the client has left; it may be called after the body was read.
    """

    context: Context
    caller: Caller
    request_id: str
    content_type: str | None
    body: AsyncIterable[bytes]
    disconnected: Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class AnswerSubmission:
    """A request that became a job. `created` is seconds since the epoch, and `model` the name that the request has for its model.

    `resumable`: the client can fetch the answer later with its idempotency key, so its leaving does not cancel the job.
    """

    call: ClientCall
    job_id: str
    service_id: str
    model: str
    created: int
    resumable: bool

    @property
    def context(self) -> Context:
        """The call's context."""
        return self.call.context

    @property
    def caller(self) -> Caller:
        """The job's owner."""
        return self.call.caller


def job_headers(*submissions: AnswerSubmission) -> dict[str, str]:
    """Return the header that names the jobs, for their receipts."""
    return {"X-Job-ID": ", ".join(submission.job_id for submission in submissions)}
