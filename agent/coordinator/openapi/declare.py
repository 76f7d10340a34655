"""What routes declare for the document beside their models: the errors of their own, and bodies that are files."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from agent.core.errors import ApiError, answerable

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
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
"""The body of a route that takes a file as it streams in, whatever its media type; for its `openapi_extra`."""


class _Shown(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ErrorBody(_Shown):
    """What went wrong. `details` depends on the code; `VALIDATION_ERROR` names each field under `fields`."""

    code: str = Field(json_schema_extra={"enum": list(answerable())})
    message: str = Field(description="A sentence for people: what is wrong and what to do")
    details: dict[str, Any]
    request_id: str = Field(description="Also in the header `X-Request-ID`", examples=["5f0c2f3a9d1e4b77"])


class Error(_Shown):
    """The one shape of all errors."""

    error: ErrorBody
