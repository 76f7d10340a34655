"""Answers to errors: every error reaches the client in the shape that docs/reference/errors.md describes."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError
from starlette.exceptions import HTTPException
from starlette.routing import Route

from agent import __version__
from agent.coordinator.http.middleware import API_MOUNT
from agent.core.errors import (
    ApiError,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    ServiceUnavailable,
    ValidationFailed,
    error_body,
    invalid_request,
)
from runners.validation_errors import MAX_FIELDS, field_errors, sentences

RETRY_AFTER_SECONDS: Final = 1


def map_errors(app: FastAPI) -> None:
    """Register the handlers of all errors that routes raise."""

    @app.exception_handler(ApiError)
    async def known(request: Request, error: ApiError) -> Response:
        return _error(request, error.status, error.code, error.message, error.details, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        fields = _fields(request, error.errors())
        return await known(request, invalid_request(fields))

    @app.exception_handler(HTTPException)
    async def protocol(request: Request, error: HTTPException) -> Response:
        if isinstance(error.__cause__, ApiError):
            return await known(request, error.__cause__)
        codes = {404: NotFound.code, 405: MethodNotAllowed.code, 413: PayloadTooLarge.code}
        messages = {
            404: f"The path {request.url.path} does not exist in version {__version__} of the coordinator.",
            405: f"{request.method} is not allowed at {request.url.path}.",
        }
        status = error.status_code
        if status == HTTPStatus.NOT_FOUND and _allowed(request):
            # A path below /api that has other methods: the framework looks for it behind the mount.
            status = MethodNotAllowed.status
        code = codes.get(status, "VALIDATION_ERROR")
        message = messages.get(status, str(error.detail))
        # The framework answers 400 to a body that it cannot parse. This API answers 422 to every invalid body.
        status = ValidationFailed.status if status == HTTPStatus.BAD_REQUEST else status
        headers = dict(error.headers or {})
        if status == MethodNotAllowed.status:
            # The framework lists the methods of only one route, but a path may have several.
            headers["Allow"] = _allowed(request) or headers.get("Allow", "")
        return _error(request, status, code, message, {}, headers)

    @app.exception_handler(UnicodeEncodeError)
    @app.exception_handler(PydanticSerializationError)
    async def unreadable(request: Request, _: Exception) -> Response:
        message = "The request contains text that is not valid Unicode."
        return await known(request, ValidationFailed(message, {"body": message}))

    @app.exception_handler(ValidationError)
    async def malformed(request: Request, error: ValidationError) -> Response:
        return await known(request, invalid_request(field_errors(error)))


def _allowed(request: Request) -> str:
    """Return the methods of the request's path, as in the header `Allow`."""
    # A path that itself begins like the mount has another name behind it.
    paths = {request.url.path, request.url.path.removeprefix(API_MOUNT)}
    methods: dict[str, set[str]] = {}
    for route in request.app.routes:
        if isinstance(route, Route) and any(map(route.path_regex.match, paths)):
            methods.setdefault(route.path_format, set()).update(route.methods or ())
    # A literal path takes precedence over one with a parameter.
    literal = min(methods, key=lambda template: template.count("{"), default="")
    return ", ".join(sorted(methods.get(literal, ())))


def _fields(request: Request, errors: Sequence[Any]) -> dict[str, str]:
    """Return the sentences for the errors of a request that its route's declaration refuses."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip()
    if any(tuple(item["loc"]) == ("body",) for item in errors) and "json" not in media_type:
        media_type_problem = f"it is sent as {media_type}" if media_type else "its media type is missing"
        return {"body": f"{media_type_problem}; send JSON with the header `Content-Type: application/json`"}
    broken = next((item for item in errors if item["type"] == "json_invalid"), None)
    if broken is not None:
        cause = broken.get("ctx", {}).get("error", "it cannot be parsed")
        return {"body": f"this is not valid JSON: {cause} (character {broken['loc'][-1]})"}
    route = request.scope.get("route")
    body = getattr(getattr(route, "body_field", None), "field_info", None)
    within: list[Any] = [{**item, "loc": item["loc"][1:]} for item in errors if item["loc"][0] == "body"]
    messages = sentences(within, model=getattr(body, "annotation", None))
    examples = _examples_of_parameters(getattr(route, "dependant", None))
    for item in errors:
        if len(messages) > MAX_FIELDS:
            break
        if item["loc"][0] != "body":
            # Their first part is where they are: query, path or header.
            inner: Any = {**item, "loc": item["loc"][1:]}
            messages |= sentences([inner], examples=examples.get(item["loc"][1], ()))
    return messages


def _examples_of_parameters(dependant: Any) -> dict[str, Sequence[Any]]:
    """Return the examples of a route's parameters, by name."""
    if dependant is None:
        return {}
    parameters = [*dependant.path_params, *dependant.query_params, *dependant.header_params]
    examples = {parameter.alias: parameter.field_info.examples or () for parameter in parameters}
    for inner in dependant.dependencies:
        examples |= _examples_of_parameters(inner)
    return examples


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
    # Clients that have no rule of their own wait this long, instead of calling again at once.
    if status == ServiceUnavailable.status:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if status == HTTPStatus.UNAUTHORIZED:  # RFC 9110 requires the challenge
        headers["WWW-Authenticate"] = "Bearer"
    # Details may contain values from the client: those that JSON cannot represent become text, and lone surrogates are escaped.
    return Response(json.dumps(body, default=str), status, headers, media_type="application/json")
