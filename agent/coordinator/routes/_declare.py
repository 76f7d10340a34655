"""Declarations of routes for the OpenAPI document in addition to their models: errors, file bodies, event streams and headers."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from agent.core.errors import ApiError

SCHEMAS: Final = "#/components/schemas/"
EVENT_STREAM: Final = "text/event-stream"
AUDIENCE: Final = "x-audience"
"""The field that describes who may make a call. Routes set it if it does not follow from their dependencies."""
ERROR_CODES: Final = "x-error-codes"
"""The field with the codes of an error answer, for programs that generate documentation."""


class ErrorsOfApi(BaseModel):
    """The form of the errors of another product's API. A class of routes has the model in `errors_of_api`."""

    @staticmethod
    def status_of(status: int) -> int:
        """Return that API's status for one of ours. It has no 422."""
        return int(HTTPStatus.BAD_REQUEST) if status == HTTPStatus.UNPROCESSABLE_ENTITY else status


def errors(*kinds: type[ApiError]) -> dict[int | str, dict[str, Any]]:
    """Return the error answers of a route in addition to those of all routes, for its `responses`."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, {ERROR_CODES: []})[ERROR_CODES].append(kind.code)
    return by_status


def body(media_type: str, *, required: bool) -> dict[str, Any]:
    """Return the declaration of a streamed body, for a route's `openapi_extra`."""
    content = {media_type: {"schema": {"type": "string", "format": "binary"}}}
    return {"requestBody": {"required": required, "content": content}}


FILE_BODY: Final = body("application/octet-stream", required=False)
"""The body of a route that accepts a file of any media type, for its `openapi_extra`. No body is an empty file."""


class _Shown(BaseModel, defer_build=True):
    model_config = ConfigDict(extra="forbid")


class DataEvent(_Shown):
    """A server-sent event for OpenAI's clients: JSON in one line, or `[DONE]` at the end."""

    data: str


class StreamEvent(_Shown):
    """A server-sent event. `data` is JSON in one line: the job for a `job_update`, otherwise the event's data."""

    event: Literal["job_update", "job_event", "resync"]
    id: str | None = Field(default=None, description="The event's number, after which a stream can resume")
    data: str = Field(examples=['{"job_id":"job_1234567890","status":"running","progress":75}'])


def event_stream(description: str, example: str, event: type[BaseModel] = StreamEvent) -> dict[str, Any]:
    """Return the declaration of an answer that streams server-sent events of a kind."""
    content = {"schema": {"$ref": f"{SCHEMAS}{event.__name__}"}, "example": example}
    return {"description": description, "content": {EVENT_STREAM: content}}


def headers(**described: str) -> dict[str, Any]:
    """Return the declaration of an answer's headers, from their meanings by name with underscores."""
    return {
        name.replace("_", "-"): {"description": meaning, "schema": {"type": "string"}}
        for name, meaning in described.items()
    }
