"""Plain routes: the calls that every job makes, without the framework's machinery, which takes several times as long as the operations behind them.

Such a call is declared like all others, for the document. A function beside it reads the request with the types of the declaration.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from json import JSONDecodeError
from typing import Any, Final, TypeAlias

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from agent.coordinator.http.large_json import read_json

Answer: TypeAlias = Callable[[Request], Awaitable[Response]]

_JSON: Final = "application/json"
_MISSING: Final = object()


class PlainRoute(Route):
    """A route that a function answers. `declared` is its declaration, which answers no requests."""

    def __init__(self, declared: APIRoute, answer: Answer) -> None:
        super().__init__(declared.path, answer, methods=declared.methods, name=declared.name)
        self.methods = declared.methods  # without HEAD
        self.declared = declared
        self.app = self._serve
        self._answer = answer

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether a request is this route's, and what the scope then contains: the declaration as its route, for errors and metrics."""
        match, child_scope = super().matches(scope)
        # Errors and metrics know only the declaration, as for every other call.
        if match is not Match.NONE:
            child_scope["route"] = self.declared
        return match, child_scope

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(Request(scope, receive, send))
        await response(scope, receive, send)


def plainly(router: APIRouter, endpoint: Callable[..., Any]) -> Callable[[Answer], Answer]:
    """Return a decorator: its function answers the requests of the router's route that `endpoint` declares."""

    def decorate(answer: Answer) -> Answer:
        position, declared = next(
            (position, route)
            for position, route in enumerate(router.routes)
            if isinstance(route, APIRoute) and route.endpoint is endpoint
        )
        router.routes[position] = PlainRoute(declared, answer)
        return answer

    return decorate


def declaration(route: BaseRoute) -> APIRoute | None:
    """Return the declaration of one of the API's calls; None for other routes."""
    if isinstance(route, PlainRoute):
        return route.declared
    return route if isinstance(route, APIRoute) else None


def declarations(routers: Iterable[APIRouter]) -> Iterator[APIRoute]:
    """Yield the declarations of all calls."""
    for router in routers:
        for route in router.routes:
            if (declared := declaration(route)) is not None:
                yield declared


class RequestReader:
    """Reads the parts of a request, and collects their errors."""

    def __init__(self) -> None:
        self._errors: list[Any] = []

    def valid(self, adapter: TypeAdapter[Any], value: Any, *location: str) -> Any:
        """Return a valid value; None for an invalid one. `location` is where it was, such as `header` and its name."""
        if value is _MISSING:
            self._errors.append({"type": "missing", "loc": location, "msg": "Field required", "input": None})
            return None
        try:
            return adapter.validate_python(value, from_attributes=True)
        except ValidationError as error:
            self._errors += [
                {**item, "loc": (*location, *item["loc"])} for item in error.errors(include_url=False)
            ]
        return None

    def finish(self) -> None:
        """Raise `RequestValidationError` if anything was invalid."""
        if self._errors:
            raise RequestValidationError(self._errors)


async def json_body(request: Request) -> Any:
    """Return the decoded body of a request; undecoded if its media type is not JSON, which no model accepts.

    Raises `RequestValidationError` and `HTTPException` for broken JSON, and what `read_json` raises.
    """
    try:
        if not (body := await request.body()):
            return _MISSING
        return (
            await read_json(request.scope, body)
            if _is_json(request.headers.get("content-type", ""))
            else body
        )
    except JSONDecodeError as error:
        broken = {"type": "json_invalid", "loc": ("body", error.pos), "ctx": {"error": error.msg}}
        raise RequestValidationError([broken]) from error
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "There was an error parsing the body") from error


def _is_json(content_type: str) -> bool:
    kind, _, subtype = content_type.partition(";")[0].strip().lower().partition("/")
    return kind == "application" and (subtype == "json" or subtype.endswith("+json"))


def json_answer(
    adapter: TypeAdapter[Any], answer: BaseModel, status: int = 200, *, without_null: bool = False
) -> Response:
    """Return the answer with a model as JSON. `without_null`: its fields without a value are left out."""
    return Response(adapter.dump_json(answer, exclude_none=without_null), status, media_type=_JSON)
