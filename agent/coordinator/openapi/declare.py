"""What routes declare for the document beside their models: the errors of their own, and bodies that are files."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from agent.core.errors import ApiError, answerable

SCHEMAS: Final = "#/components/schemas/"
EVENT_STREAM: Final = "text/event-stream"
ERROR_CODES: Final = "x-error-codes"
"""Where the document keeps the codes of an error answer, for programs that write about it."""


def errors(*kinds: type[ApiError]) -> dict[int | str, dict[str, Any]]:
    """The error answers that a route has beside those of all routes, for its `responses`."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, {ERROR_CODES: []})[ERROR_CODES].append(kind.code)
    return by_status


FILE_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": False,  # nothing is a file too, an empty one
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
"""The body of a route that takes a file as it streams in, whatever its media type; for its `openapi_extra`."""


class _Shown(BaseModel):
    model_config = ConfigDict(extra="forbid")


class StreamEvent(_Shown):
    """One server-sent event. `data` is JSON in one line: the job itself in a `job_update`, else what the event is about."""

    event: Literal["job_update", "job_event", "resync"]
    data: str = Field(examples=['{"job_id":"job_1234567890","status":"running","progress":75}'])


def event_stream(description: str, example: str) -> dict[str, Any]:
    """The answer of a route that streams server-sent events, each a `StreamEvent`."""
    content = {"schema": {"$ref": f"{SCHEMAS}StreamEvent"}, "example": example}
    return {"description": description, "content": {EVENT_STREAM: content}}


class ErrorBody(_Shown):
    """What went wrong. `details` depends on the code; `VALIDATION_ERROR` names each field under `fields`."""

    code: str = Field(json_schema_extra={"enum": list(answerable())})
    message: str = Field(description="A sentence for people: what is wrong and what to do")
    details: dict[str, Any]
    request_id: str = Field(description="Also in the header `X-Request-ID`", examples=["5f0c2f3a9d1e4b77"])


class Error(_Shown):
    """The one shape of all errors."""

    error: ErrorBody
