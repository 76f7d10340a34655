"""What routes declare for the document beside their models: the errors of their own, and bodies that are files."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from agent.core.errors import ApiError

SCHEMAS: Final = "#/components/schemas/"
EVENT_STREAM: Final = "text/event-stream"
AUDIENCE: Final = "x-audience"
"""Where the document says in words who may make a call. Routes say it themselves where their dependencies do not."""
ERROR_CODES: Final = "x-error-codes"
"""Where the document keeps the codes of an error answer, for programs that write about it."""


def errors(*kinds: type[ApiError]) -> dict[int | str, dict[str, Any]]:
    """The error answers that a route has beside those of all routes, for its `responses`."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, {ERROR_CODES: []})[ERROR_CODES].append(kind.code)
    return by_status


def body(media_type: str, *, required: bool) -> dict[str, Any]:
    """A body of bytes as they stream in; for a route's `openapi_extra`."""
    content = {media_type: {"schema": {"type": "string", "format": "binary"}}}
    return {"requestBody": {"required": required, "content": content}}


FILE_BODY: Final = body("application/octet-stream", required=False)
"""The body of a route that takes a file, whatever its media type: none is an empty file. For its `openapi_extra`."""


class _Shown(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DataEvent(_Shown):
    """One server-sent event of the kind that OpenAI's clients read: JSON in one line, `[DONE]` at the end."""

    data: str


class StreamEvent(_Shown):
    """One server-sent event. `data` is JSON in one line: the job itself in a `job_update`, else what the event is about."""

    event: Literal["job_update", "job_event", "resync"]
    id: str | None = Field(default=None, description="Its number, to go on after")
    data: str = Field(examples=['{"job_id":"job_1234567890","status":"running","progress":75}'])


def event_stream(description: str, example: str, event: type[BaseModel] = StreamEvent) -> dict[str, Any]:
    """The answer of a route that streams server-sent events of a kind."""
    content = {"schema": {"$ref": f"{SCHEMAS}{event.__name__}"}, "example": example}
    return {"description": description, "content": {EVENT_STREAM: content}}


def headers(**described: str) -> dict[str, Any]:
    """Headers that an answer may have: what each means, by its name with underscores."""
    return {
        name.replace("_", "-"): {"description": meaning, "schema": {"type": "string"}}
        for name, meaning in described.items()
    }


class ErrorBody(_Shown):
    """What went wrong. `details` depends on the code; `VALIDATION_ERROR` names each field under `fields`."""

    code: str = Field(
        description="One of the error codes; where a job failed, it may be its runner's own",
        json_schema_extra={"pattern": "^[A-Z][A-Z0-9_]{0,63}$"},
        examples=["JOB_NOT_FOUND"],
    )
    message: str = Field(description="A sentence for people: what is wrong and what to do")
    details: dict[str, Any]
    request_id: str = Field(description="Also in the header `X-Request-ID`", examples=["5f0c2f3a9d1e4b77"])


class Error(_Shown):
    """The one shape of all errors."""

    error: ErrorBody
