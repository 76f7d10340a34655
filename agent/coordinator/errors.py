"""Answers to errors: every error reaches the client in the shape that docs/reference/errors.md describes."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import ValidationError as PydanticError
from pydantic_core import PydanticSerializationError
from starlette.exceptions import HTTPException

from agent.coordinator.openapi.document import allowed
from agent.core.errors import (
    ApiError,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    ServiceUnavailable,
    ValidationFailed,
    error_body,
)
from agent.protocol.validation_errors import field_errors

RETRY_AFTER_SECONDS: Final = 1


def map_errors(app: FastAPI) -> None:
    """Register the handlers of all errors that routes raise."""

    @app.exception_handler(ApiError)
    async def known(request: Request, error: ApiError) -> Response:
        return _error(request, error.status, error.code, error.message, error.details, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        errors = error.errors()
        if any(item["type"] == "json_invalid" for item in errors):
            message, fields = (
                "The body is not valid JSON.",
                {"body": str(errors[0].get("ctx", {}).get("error", ""))},
            )
        else:
            message, fields = "The request is not valid.", {_field(item): _sentence(item) for item in errors}
        return _error(request, ValidationFailed.status, ValidationFailed.code, message, {"fields": fields})

    @app.exception_handler(HTTPException)
    async def protocol(request: Request, error: HTTPException) -> Response:
        codes = {404: NotFound.code, 405: MethodNotAllowed.code, 413: PayloadTooLarge.code}
        messages = {
            404: f"The path {request.url.path} does not exist.",
            405: f"{request.method} is not allowed at {request.url.path}.",
        }
        code = codes.get(error.status_code, "VALIDATION_ERROR")
        message = messages.get(error.status_code, str(error.detail))
        # The framework answers 400 to a body that it cannot parse. This API answers 422 to every invalid body.
        status = ValidationFailed.status if error.status_code == HTTPStatus.BAD_REQUEST else error.status_code
        headers = dict(error.headers or {})
        if status == MethodNotAllowed.status:
            # The framework lists the methods of only one route, but a path may have several.
            headers["Allow"] = allowed(request.url.path) or headers.get("Allow", "")
        return _error(request, status, code, message, {}, headers)

    @app.exception_handler(UnicodeEncodeError)
    @app.exception_handler(PydanticSerializationError)
    async def unreadable(request: Request, _: Exception) -> Response:
        message = "The request contains text that is not valid Unicode."
        return _error(
            request, ValidationFailed.status, ValidationFailed.code, message, {"fields": {"body": message}}
        )

    @app.exception_handler(PydanticError)
    async def malformed(request: Request, error: PydanticError) -> Response:
        fields = {"fields": field_errors(error)}
        return _error(
            request, ValidationFailed.status, ValidationFailed.code, "The request is not valid.", fields
        )


def _field(error: dict[str, Any]) -> str:
    parts = [str(part) for part in error["loc"]]
    return ".".join(parts[1:] if len(parts) > 1 and parts[0] == "body" else parts)


def _sentence(error: dict[str, Any]) -> str:
    return str(error["msg"]).removeprefix("Value error, ")


def _error(
    request: Request,
    status: int,
    code: str,
    message: str,
    details: dict[str, Any],
    headers: Mapping[str, str] | None = None,
) -> Response:
    request_id = request.scope.get("request_id") or secrets.token_hex(8)
    body = error_body(code, message, details, request_id)
    headers = dict(headers or {})
    if status == ServiceUnavailable.status:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if status == HTTPStatus.UNAUTHORIZED:  # RFC 9110 requires the challenge
        headers["WWW-Authenticate"] = "Bearer"
    # Details may contain values from the client: those that JSON cannot represent become text, and lone surrogates are escaped.
    return Response(json.dumps(body, default=str), status, headers, media_type="application/json")
