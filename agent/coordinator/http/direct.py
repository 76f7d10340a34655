"""Answers requests without the framework's machinery, which takes several times as long as most of the operations behind it.

The framework analyses the declarations of the routes, once; `Direct` does for a valid request what they say. It passes every other
request to the framework: unknown paths, invalid parameters, forms, streams. So errors have one source.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from http import HTTPStatus
from inspect import iscoroutinefunction
from json import loads
from typing import Any, Final, TypeAlias

from fastapi import params
from fastapi._compat import ModelField, is_scalar_field, lenient_issubclass
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_typed_return_annotation
from fastapi.exceptions import ResponseValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.coordinator.http.large_json import LARGE, limit_body, limit_fields

_JSON: Final = b"application/json"
_BASE: Final = "/v1/"
API_MOUNT: Final = "/api"
"""The path under which the API also answers."""
_TEXT: Final = (str, str | None)
"""The types of the headers that are read here."""
_WITHOUT_BODY: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})

Headers: TypeAlias = Mapping[bytes, bytes]
Values: TypeAlias = dict[str, Any]


class _OtherwiseError(Exception):
    """The framework has to answer this request."""


class Direct:
    """ASGI application that answers valid requests of the routes in a table. `framework` answers all others."""

    def __init__(self, framework: ASGIApp, table: Table) -> None:
        self._framework = framework
        self._table = table

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        route = self._route_of(scope) if scope["type"] == "http" else None
        if route is None:
            await self._framework(scope, receive, send)
            return
        request = Request(scope, receive, send)
        try:
            result, response = await route.call(request)
        except _OtherwiseError:
            await self._framework(scope, _replayed(request, receive), send)
            return
        if isinstance(result, Response):
            await result(scope, receive, send)
            return
        body = route.serialize(result)
        headers = [(b"content-length", b"%d" % len(body)), (b"content-type", _JSON)]
        status = route.status
        if response is not None:
            headers += response.headers.raw
            status = response.status_code or status
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _route_of(self, scope: Scope) -> _Route | None:
        """Return the route of a request, with its path's parameters in the scope; None for the framework's."""
        path: str = scope["path"].removeprefix(API_MOUNT)
        for regex, route in self._table.get((scope["method"], _resource(path)), ()):
            found = regex.match(path)
            if found is None:
                continue
            if route is not None and not scope["root_path"]:
                scope["route"], scope["endpoint"] = route.declared, route.declared.endpoint
                scope["path_params"] = found.groupdict()
                return route
            return None
        return None


Table: TypeAlias = Mapping[tuple[str, str], list[tuple[re.Pattern[str], "_Route | None"]]]


def plain_routes(routes: Iterable[BaseRoute]) -> Table:
    """Return the routes by method and first part of their paths, in their order; None for those that the framework answers."""
    table: defaultdict[tuple[str, str], list[tuple[re.Pattern[str], _Route | None]]] = defaultdict(list)
    for declared in routes:
        if isinstance(declared, APIRoute):
            route = _Route(declared) if _is_plain(declared) else None
            for method in declared.methods or ():
                table[method, _resource(declared.path_format)].append((declared.path_regex, route))
    return dict(table)


def _resource(path: str) -> str:
    """Return the first part of a path after the API's version, such as `/v1/jobs`, which has no parameters. "" for other paths."""
    if not path.startswith(_BASE):
        return ""
    end = path.find("/", len(_BASE))
    return path if end < 0 else path[:end]


def _is_plain(route: APIRoute) -> bool:
    """Return whether a route and its dependencies are coroutines over parameters that are read here, and its answer is a model or a response."""
    dependant: Dependant = route.dependant
    calls = [dependant, *dependant.dependencies]
    body: ModelField | None = route.body_field
    return (
        (_answers_model(route) or _answers_response(route))
        and set(route.param_convertors) == {field.alias for field in dependant.path_params}
        and (body is None or (type(body.field_info) is params.Body and not route._embed_body_fields))  # noqa: SLF001 - how the framework reads the body
        and all(_is_readable(call) for call in calls)
        and not any(call.dependencies or call.body_params for call in dependant.dependencies)
        and len({id(call.call) for call in calls}) == len(calls)
    )


def _answers_model(route: APIRoute) -> bool:
    return (
        isinstance(route.response_class, DefaultPlaceholder)
        and route.response_field is not None
        and route.status_code not in _WITHOUT_BODY
    )


def _answers_response(route: APIRoute) -> bool:
    return lenient_issubclass(get_typed_return_annotation(route.endpoint), Response)


def _is_readable(call: Dependant) -> bool:
    others = (
        call.cookie_params,
        call.websocket_param_name,
        call.http_connection_param_name,
        call.background_tasks_param_name,
        call.security_scopes_param_name,
        call.concurrency,
    )
    function = call.call
    return (
        (iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None)))  # noqa: B004 - whether its call is a coroutine
        and not any(others)
        and all(field.field_info.annotation in _TEXT for field in call.header_params)
    )


@dataclass(frozen=True, slots=True)
class _Call:
    """A route's function or one of its dependencies, the parameters that it reads, and its arguments for these objects."""

    name: str | None
    function: Callable[..., Awaitable[Any]]
    path: tuple[ModelField, ...]
    query: tuple[ModelField, ...]
    header: tuple[tuple[bytes, ModelField], ...]
    request: str | None
    response: str | None

    @classmethod
    def of(cls, dependant: Dependant) -> _Call:
        """Return what the framework knows about a function."""
        assert dependant.call is not None  # noqa: S101 - for the type checker
        return cls(
            dependant.name,
            dependant.call,
            tuple(dependant.path_params),
            tuple(dependant.query_params),
            tuple((field.alias.lower().encode(), field) for field in dependant.header_params),
            dependant.request_param_name,
            dependant.response_param_name,
        )

    def arguments(
        self, request: Request, query: Mapping[str, str], headers: Headers, response: Response | None
    ) -> Values:
        """Return the arguments, without the body and the dependencies. Raises `_OtherwiseError`."""
        values: Values = {}
        for field in self.path:
            values[field.name] = _valid(field, request.scope["path_params"][field.alias])
        for field in self.query:
            value = query.get(field.alias)
            values[field.name] = _default(field) if value is None else _valid(field, value)
        for name, field in self.header:
            given = headers.get(name)
            values[field.name] = _default(field) if given is None else _valid(field, given.decode("latin-1"))
        if self.request is not None:
            values[self.request] = request
        if self.response is not None:
            values[self.response] = response
        return values


class _Route:
    """A route that is answered here. `declared` is its declaration, `status` that of its answers."""

    def __init__(self, declared: APIRoute) -> None:
        dependant: Dependant = declared.dependant
        self.declared = declared
        self.status: int = declared.status_code or HTTPStatus.OK
        self._dependencies = tuple(_Call.of(dependency) for dependency in dependant.dependencies)
        self._endpoint = _Call.of(dependant)
        calls = (self._endpoint, *self._dependencies)
        queries = [field for call in calls for field in call.query]
        self._reads_query = bool(queries)
        self._reads_every_query = all(is_scalar_field(field) for field in queries)
        self._reads_headers = any(call.header for call in calls)
        self._sets_headers = any(call.response for call in calls)
        self._body: ModelField | None = declared.body_field
        self._answer: ModelField | None = declared.response_field
        self._type = None if self._answer is None else self._answer.field_info.annotation
        self._options: Values = {
            name: getattr(declared, f"response_model_{name}")
            for name in (
                "include",
                "exclude",
                "by_alias",
                "exclude_unset",
                "exclude_defaults",
                "exclude_none",
            )
        }

    async def call(self, request: Request) -> tuple[Any, Response | None]:
        """Return the route's result, and the object on which it sets headers. Raises `_OtherwiseError` before calling the route."""
        scope = request.scope
        query: Mapping[str, str] = {}
        if self._reads_query and scope["query_string"]:
            if not self._reads_every_query:
                raise _OtherwiseError
            query = request.query_params
        headers = _headers(scope) if self._reads_headers or self._body is not None else {}
        body = None if self._body is None else await _json(request, headers)
        response = _no_response() if self._sets_headers else None
        values: Values = {}
        for dependency in self._dependencies:
            result = await dependency.function(**dependency.arguments(request, query, headers, response))
            if dependency.name is not None:
                values[dependency.name] = result
        values |= self._endpoint.arguments(request, query, headers, response)
        if self._body is not None:
            values[self._body.name] = _valid(self._body, body)
        return await self._endpoint.function(**values), response

    def serialize(self, result: Any) -> bytes:
        """Return a result as JSON. Results of exactly the declared model have been validated when they were made."""
        assert self._answer is not None  # noqa: S101 - for the type checker
        if type(result) is not self._type:
            result, errors = self._answer.validate(result, loc=("response",))
            if errors:
                raise ResponseValidationError(errors=errors, body=result)
        return self._answer.serialize_json(result, **self._options)


def _headers(scope: Scope) -> Headers:
    """Return a request's headers by their names. Raises `_OtherwiseError` if a name occurs twice."""
    headers = dict(scope["headers"])
    if len(headers) != len(scope["headers"]):
        raise _OtherwiseError
    return headers


async def _json(request: Request, headers: Headers) -> Any:
    """Read a request's body and decode it. Raises `_OtherwiseError` for large ones and for those that are not JSON, and what `limit_body` and `limit_fields` raise."""
    length = headers.get(b"content-length", b"")
    if headers.get(b"content-type") != _JSON or not length.isdigit() or not 0 < int(length) < LARGE:
        raise _OtherwiseError
    try:
        body = await request.body()
    except HTTPException:
        raise
    except Exception:  # noqa: BLE001 - as the framework does
        raise HTTPException(HTTPStatus.BAD_REQUEST, "There was an error parsing the body") from None
    try:
        limit_body(request.scope, body)
        return limit_fields(loads(body))
    except (ValueError, RecursionError):
        raise _OtherwiseError from None


def _replayed(request: Request, receive: Receive) -> Receive:
    """Return a `receive` that begins with the body if that has been read."""
    body: bytes | None = getattr(request, "_body", None)
    if body is None:
        return receive

    async def replayed() -> Message:
        nonlocal body
        if body is None:
            return await receive()
        message: Message = {"type": "http.request", "body": body, "more_body": False}
        body = None
        return message

    return replayed


def _valid(field: ModelField, value: Any) -> Any:
    valid, errors = field.validate(value)
    if errors:
        raise _OtherwiseError
    return valid


def _default(field: ModelField) -> Any:
    if field.field_info.is_required() or field.field_info.validate_default:
        raise _OtherwiseError
    return deepcopy(field.default)


def _no_response() -> Response:
    """Return the object on which a route sets headers and its status, as the framework makes it."""
    response = Response()
    del response.headers["content-length"]
    response.status_code = None  # type: ignore[assignment] # no status is set
    return response
