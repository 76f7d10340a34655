"""Assembles the OpenAPI document from the routes' declarations and the parts that all routes share.

A route declares its models, and with `errors(...)` its own error answers. This module derives the rest: who may call it and the errors
for other callers, the errors of all calls, headers, examples and operation ids.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field

from agent import __version__
from agent.coordinator.features.reference.examples import NoExampleError, example_of
from agent.coordinator.features.reference.guide import DESCRIPTION, SUMMARY, tags
from agent.coordinator.http.plain import declarations
from agent.coordinator.routes._callers import Guard, guard_of
from agent.coordinator.routes._declare import (
    AUDIENCE,
    ERROR_CODES,
    SCHEMAS,
    DataEvent,
    ErrorsOfApi,
    StreamEvent,
)
from agent.core.errors import (
    ApiError,
    InternalError,
    NotFound,
    PayloadTooLarge,
    RateLimitExceeded,
    ServiceUnavailable,
    Unauthorized,
    ValidationFailed,
    answerable,
)

Json = dict[str, Any]

EVERYBODY: Final = "everybody, also without a key"
SERVERS: Final = [
    {"url": "/", "description": "The coordinator that serves this document"},
    {"url": "https://aitbc.bubuit.net/api", "description": "Production"},
]
HEADERS: Final[Json] = {
    "X-Request-ID": {
        "description": "The request's id, which errors and the server's log contain",
        "required": True,
        "schema": {"type": "string"},
        "example": "5f0c2f3a9d1e4b77",
    },
    "X-AITBC-Version": {
        "description": "The coordinator's version",
        "required": True,
        "schema": {"type": "string"},
        "example": "1.0.0",
    },
    "Retry-After": {
        "description": "Seconds after which to retry",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
        "example": "1",
    },
    "RateLimit-Policy": {
        "description": "The budget to which the call counted (docs/reference/limits.md)",
        "schema": {"type": "string"},
        "example": '"client";q=1000;w=10',
    },
    "RateLimit": {
        "description": "The rest of the budget",
        "schema": {"type": "string"},
        "example": '"client";r=998;t=9',
    },
    "WWW-Authenticate": {
        "description": "How to authenticate",
        "required": True,
        "schema": {"type": "string"},
        "example": "Bearer",
    },
}
SECURITY_SCHEMES: Final[Json] = {
    "key": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`"},
    "keyHeader": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "`X-API-Key: KEY`"},
    "session": {
        "type": "http",
        "scheme": "bearer",
        "description": "`Authorization: Bearer TOKEN` of a miner's session",
    },
}
_ON_EVERY_ANSWER: Final = ("X-Request-ID", "X-AITBC-Version", "RateLimit-Policy", "RateLimit")
_HEADERS_OF: Final = {
    Unauthorized.status: "WWW-Authenticate",
    RateLimitExceeded.status: "Retry-After",
    ServiceUnavailable.status: "Retry-After",
}
"""The headers that answers with a status have in addition to those of all answers."""
ALWAYS: Final = (RateLimitExceeded, InternalError, ServiceUnavailable)
"""The errors of all calls."""


class ErrorBody(BaseModel, extra="forbid"):
    """An error. `details` depends on the code; those of a `VALIDATION_ERROR` have a sentence for each field under `fields`."""

    code: str = Field(
        description="One of the error codes; for a failed job, possibly a code of its runner; two of OpenAI's on its paths",
        json_schema_extra={"pattern": "^([A-Z][A-Z0-9_]{0,63}|context_length_exceeded|model_not_found)$"},
        examples=["JOB_NOT_FOUND"],
    )
    message: str = Field(description="A sentence for people: what went wrong and what to do")
    details: dict[str, Any]
    request_id: str = Field(description="Also in the header `X-Request-ID`", examples=["5f0c2f3a9d1e4b77"])
    type: str = Field(default="", description="Only on the paths of OpenAI's API, as there", examples=[""])
    param: str | None = Field(default=None, description="Only on the paths of OpenAI's API, as there")


class Error(BaseModel, extra="forbid"):
    """The form of all error answers."""

    error: ErrorBody


def document(routers: Iterable[APIRouter]) -> Json:
    """Return the document of the calls of these routers."""
    routes = [route for route in declarations(routers) if route.include_in_schema]
    openapi: Json = get_openapi(
        title="AITBC",
        version=__version__,
        summary=SUMMARY,
        description=DESCRIPTION,
        routes=routes,
        tags=tags({str(tag) for route in routes for tag in route.tags}),
        servers=SERVERS,
        license_info={"name": "MIT", "identifier": "MIT"},
        # One schema a model: clients generated from the document would otherwise have two classes for the same thing.
        separate_input_output_schemas=False,
    )
    components = openapi["components"]
    _add_shared(components)
    components["headers"] = HEADERS
    components["securitySchemes"] = SECURITY_SCHEMES
    for route in routes:
        for method in route.methods or ():
            _complete(openapi["paths"][route.path_format][method.lower()], route, method, components)
    _without_titles(openapi["paths"])
    _without_titles(components["schemas"])
    return openapi


def _add_shared(components: Json) -> None:
    schemas = components["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):  # the framework's, which are never answered
        schemas.pop(name, None)
    for model in (Error, StreamEvent, DataEvent):
        _add_model(schemas, model)
    components["responses"] = {code: _error_answer([kind]) for code, kind in answerable().items()}


def _add_model(schemas: Json, model: type[BaseModel]) -> None:
    schema = model.model_json_schema(ref_template=SCHEMAS + "{model}")
    schemas |= {**schema.pop("$defs", {}), model.__name__: schema}


def _resource(route: APIRoute) -> str:
    """Return the name of the route's module; that of the feature, if it has one module of routes."""
    *_, folder, module = route.endpoint.__module__.split(".")
    return folder if module == "routes" else module


def _complete(operation: Json, route: APIRoute, method: str, components: Json) -> None:
    """Add the parts that follow from the route's declaration."""
    guard = guard_of(route)
    operation["operationId"] = route.operation_id or f"{_resource(route)}_{route.name}"
    operation.setdefault(AUDIENCE, EVERYBODY if guard is None else guard.audience)
    operation["security"] = [] if guard is None else [{scheme: []} for scheme in guard.schemes]
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _never_null(parameter["schema"])
    _complete_body(operation, route, components)
    _complete_answers(operation, components)
    _add_error_answers(operation, route, guard, components)
    if method == "HEAD":
        for response in operation["responses"].values():
            response.pop("content", None)


def _never_null(schema: Json) -> Json:
    """Return a parameter's schema without null: an optional parameter is omitted instead."""
    options = schema.get("anyOf", [])
    kinds = [option for option in options if option != {"type": "null"}]
    if len(kinds) == len(options):
        return schema
    attributes = {name: value for name, value in schema.items() if name != "anyOf"}
    return {**attributes, **kinds[0]} if len(kinds) == 1 else {**attributes, "anyOf": kinds}


def _complete_body(operation: Json, route: APIRoute, components: Json) -> None:
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = content["schema"]
        # A service's input, which only one route has, so that the framework gives it no name.
        if schema.get("type") == "object":
            name = "".join(word.capitalize() for word in route.name.split("_")) + "Call"
            components["schemas"][name] = schema
            content["schema"] = {"$ref": f"{SCHEMAS}{name}"}
        _add_example(media_type, content, components)


def _complete_answers(operation: Json, components: Json) -> None:
    for status, response in operation["responses"].items():
        if not status.startswith(("2", "3")):
            continue
        if response["description"] == "Successful Response":  # the framework's default
            response["description"] = HTTPStatus(int(status)).phrase
        response.setdefault("headers", {}).update({name: _header(name) for name in _ON_EVERY_ANSWER})
        for media_type, content in response.get("content", {}).items():
            _add_example(media_type, content, components)


def _add_example(media_type: str, content: Json, components: Json) -> None:
    if media_type == "application/json" and not content.keys() & {"example", "examples"}:
        # The schema of a third-party runner may lack examples; ours are tested.
        with suppress(NoExampleError):
            content["example"] = example_of(content["schema"], components["schemas"])


def _add_error_answers(operation: Json, route: APIRoute, guard: Guard | None, components: Json) -> None:
    kinds: set[type[ApiError]] = {*ALWAYS, *(guard.errors if guard else ())}
    if "{" in route.path_format:
        kinds.add(NotFound)  # a value with a slash makes another path
    if "requestBody" in operation:
        kinds |= {PayloadTooLarge, ValidationFailed}
    if operation.get("parameters"):
        kinds.add(ValidationFailed)
    kinds_by_code = answerable()
    responses = operation["responses"]
    if ERROR_CODES not in responses.get("422", {}):  # the framework's own
        responses.pop("422", None)
    kinds |= {
        kinds_by_code[code] for response in responses.values() for code in response.get(ERROR_CODES, ())
    }
    by_status: dict[int, list[type[ApiError]]] = {}
    form: type[ErrorsOfApi] | None = getattr(route, "errors_of_api", None)
    for kind in kinds:
        by_status.setdefault(kind.status if form is None else form.status_of(kind.status), []).append(kind)
    if form is not None:
        for kind in kinds:
            responses.pop(str(kind.status), None)
        _add_model(components["schemas"], form)
    for status in sorted(by_status):
        of_status = sorted(by_status[status], key=lambda kind: kind.code)
        if form is not None:
            content: Json = {"schema": {"$ref": f"{SCHEMAS}{form.__name__}"}}
            _add_example("application/json", content, components)
            responses[str(status)] = {
                **_error_answer(of_status),
                "content": {"application/json": content},
            }
            continue
        shared = {"$ref": f"#/components/responses/{of_status[0].code}"}
        responses[str(status)] = shared if len(of_status) == 1 else _error_answer(of_status)


def _error_answer(kinds: list[type[ApiError]]) -> Json:
    """Return the answer for these errors, which have the same status."""
    codes = [kind.code for kind in kinds]
    meanings = {kind.code: _meaning(kind) for kind in kinds}
    headers = [*_ON_EVERY_ANSWER, *filter(None, [_HEADERS_OF.get(kinds[0].status)])]
    # A job that failed on its miner has its runner's code.
    # The paths of OpenAI's API say in its words that there is no such model.
    named = [*codes, *(["model_not_found"] if "NOT_FOUND" in codes else [])]
    code: Json = {} if any(kind.open_code for kind in kinds) else {"enum": named}
    allowed_codes = {"properties": {"error": {"properties": {"code": code}}}}
    return {
        "description": " ".join(f"`{code}`: {meaning}" for code, meaning in meanings.items()),
        ERROR_CODES: codes,
        "headers": {name: _header(name) for name in headers},
        "content": {
            "application/json": {
                "schema": {"allOf": [{"$ref": f"{SCHEMAS}Error"}, allowed_codes]},
                "examples": {code: {"value": _error_example(code, text)} for code, text in meanings.items()},
            }
        },
    }


def _meaning(kind: type[ApiError]) -> str:
    return " ".join((kind.__doc__ or "").split())


def _error_example(code: str, message: str) -> Json:
    return {
        "error": {"code": code, "message": message, "details": {}, "request_id": "5f0c2f3a9d1e4b77"},
    }


def _header(name: str) -> Json:
    return {"$ref": f"#/components/headers/{name}"}


def _without_titles(schemas: Any) -> None:
    """Remove the titles, which only repeat the fields' names."""
    if isinstance(schemas, list):
        for item in schemas:
            _without_titles(item)
    elif isinstance(schemas, dict):
        if isinstance(schemas.get("title"), str):
            del schemas["title"]
        for word, value in schemas.items():
            if word not in ("example", "examples", "default", "enum", "const"):
                _without_titles(value)
