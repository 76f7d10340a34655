"""Errors in the form of Anthropic's API, in its words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar, Final, Literal

from pydantic import BaseModel

from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.routes._declare import ErrorsOfApi
from aitbc.answers.fields import example
from runners.errors import FailureCode

OVERLOADED: Final = 529
_KINDS: Final = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.PAYMENT_REQUIRED: "billing_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.NOT_FOUND: "not_found_error",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "request_too_large",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
    HTTPStatus.GATEWAY_TIMEOUT: "timeout_error",
    OVERLOADED: "overloaded_error",
}
_INVALID: Final = "invalid_request_error"
_FAILED: Final = "api_error"
_OF_REQUESTS: Final = {FailureCode.CONTEXT_OVERFLOW.value, FailureCode.INPUT_INVALID.value}
_OVERFLOW: Final = re.compile(
    r"has (?:more than )?(\d+) tokens and max_tokens is (\d+); .* holds (\d+) together"
)


class AnthropicErrorBody(BaseModel):
    """What went wrong."""

    type: str
    message: str


class AnthropicError(ErrorsOfApi):
    """An error in the form of Anthropic's API."""

    model_config = example(
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "messages.0: the content is empty"},
            "request_id": "5f0c2f3a9d1e4b77",
        }
    )

    type: Literal["error"]
    error: AnthropicErrorBody
    request_id: str

    @staticmethod
    def status_of(status: int) -> int:
        """Return the API's status for one of ours: its clients know no 422 and wait longer after 529, which means the same as 503."""
        return OVERLOADED if status == HTTPStatus.SERVICE_UNAVAILABLE else ErrorsOfApi.status_of(status)


class AnthropicRoute(LargeJsonRoute):
    """A path of Anthropic's API."""

    errors_of_api: ClassVar = AnthropicError


def reform(status: int, error: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
    """Return status and body of an error."""
    status = AnthropicError.status_of(status)
    fallback = _FAILED if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _INVALID
    return status, _body(_KINDS.get(status, fallback), error)


def stream_error(error: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of an error of a stream, whose status is already sent."""
    return _body(_INVALID if error["code"] in _OF_REQUESTS else _FAILED, error)


def _body(kind: str, error: Mapping[str, Any]) -> dict[str, Any]:
    fields = (error.get("details") or {}).get("fields")
    message = "; ".join(f"{name}: {text}" for name, text in fields.items()) if fields else error["message"]
    if error["code"] == FailureCode.CONTEXT_OVERFLOW.value:
        message = _overflow(message)
    return {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": error.get("request_id"),
    }


def overflow_numbers(message: str) -> tuple[int, int, int] | None:
    """Return the tokens of the prompt, `max_tokens`, and the tokens of the context, from an engine's message that they do not fit."""
    numbers = _OVERFLOW.search(message)
    if numbers is None:
        return None
    tokens, limit, context = map(int, numbers.groups())
    return tokens, limit, context


def _overflow(message: str) -> str:
    """Return the message in the words by which clients know that they must shorten the conversation or the answer."""
    numbers = overflow_numbers(message)
    if numbers is None:
        return f"prompt is too long: {message}"
    tokens, limit, context = numbers
    if tokens >= context:
        return f"prompt is too long: {tokens} tokens > {context} maximum"
    return f"input length and `max_tokens` exceed context limit: {tokens} + {limit} > {context}; shorten one of them"
