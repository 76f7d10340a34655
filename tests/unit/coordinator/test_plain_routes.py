"""A plain route answers as its declaration would."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, Request, Response
from pydantic import BaseModel, Field, TypeAdapter

from agent.coordinator.errors import map_errors
from agent.coordinator.http.large_json import LARGE, MAX_VALUES, LargeJsonRoute
from agent.coordinator.http.plain import RequestReader, declaration, json_answer, json_body, plainly
from agent.core.errors import Unauthorized


class Box(BaseModel):
    name: str
    size: int = Field(default=3, ge=1, examples=[7])
    nested: dict[str, Any] | None = None


async def key_of(request: Request) -> str:
    if "x-key" not in request.headers:
        raise Unauthorized("no key")
    return request.headers["x-key"]


Tag = Annotated[str | None, Header(alias="X-Tag", max_length=5)]
router = APIRouter(route_class=LargeJsonRoute, prefix="/v1/boxes")


@router.post("", status_code=201, response_model_exclude_none=True)
async def create(key: Annotated[str, Depends(key_of)], box: Box, tag: Tag = None) -> Box:
    if box.name == "broken":
        raise ValueError("broken")
    return Box(name=f"{box.name} {key} {tag}", size=box.size)


@plainly(router, create)
async def _create(request: Request) -> Response:
    body = await json_body(request)
    key = await key_of(request)
    reading = RequestReader()
    box = reading.valid(TypeAdapter(Box), body, "body")
    tag = reading.valid(TypeAdapter(Tag), request.headers.get("x-tag"), "header", "X-Tag")
    reading.finish()
    return json_answer(TypeAdapter(Box), await create(key, box, tag), 201, without_null=True)


@router.get("/{name}")
async def get(name: str) -> Box:
    return Box(name=name)


@plainly(router, get)
async def _get(request: Request) -> Response:
    return json_answer(TypeAdapter(Box), await get(request.path_params["name"]))


def app(*, plain: bool) -> FastAPI:
    application = FastAPI(openapi_url=None)
    routes = [route if plain else declaration(route) or route for route in router.routes]
    application.router.routes.extend(routes)
    application.mount("/api", APIRouter(routes=routes))
    map_errors(application)
    return application


class Limited:
    """Sets what the middleware of the coordinator sets."""

    def __init__(self, inner: FastAPI) -> None:
        self._inner = inner

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._inner({**scope, MAX_VALUES: 1000, "request_id": "1"}, receive, send)


PLAIN, DECLARED = Limited(app(plain=True)), Limited(app(plain=False))
JSON = {"content-type": "application/json", "x-key": "abc"}
GOOD = b'{"name": "n", "nested": {"a": [1.50, null]}}'
REQUESTS: dict[str, tuple[str, str, dict[str, str], bytes]] = {
    "valid": ("POST", "/v1/boxes", JSON, GOOD),
    "mounted": ("POST", "/api/v1/boxes", JSON | {"X-Tag": "tag"}, GOOD),
    "with a header that is too long": ("POST", "/v1/boxes", JSON | {"X-Tag": "far too long"}, GOOD),
    "with two errors": ("POST", "/v1/boxes", JSON | {"X-Tag": "far too long"}, b'{"size": 0}'),
    "which the operation fails": ("POST", "/v1/boxes", JSON, b'{"name": "broken"}'),
    "without a key": ("POST", "/v1/boxes", {"content-type": "application/json"}, GOOD),
    "invalid and without a key": ("POST", "/v1/boxes", {"content-type": "application/json"}, b'{"size": 0}'),
    "broken and without a key": ("POST", "/v1/boxes", {"content-type": "application/json"}, b"{"),
    "of wrong types": ("POST", "/v1/boxes", JSON, b'{"size": "x", "name": 4}'),
    "with a number as text": ("POST", "/v1/boxes", JSON, b'{"name": "n", "size": "4", "nested": {"x": NaN}}'),
    "broken": ("POST", "/v1/boxes", JSON, b'{"name": "n",'),
    "not Unicode": ("POST", "/v1/boxes", JSON, b'{"name": "\xff"}'),
    "with a lone surrogate": ("POST", "/v1/boxes", JSON, b'{"name": "\\ud800"}'),
    "nested deeply": ("POST", "/v1/boxes", JSON, b'{"a":' * 900 + b"[" * 90),
    "with too many values": ("POST", "/v1/boxes", JSON, b"[" * 10_000),
    "with too many fields": ("POST", "/v1/boxes", JSON, b"{%s}" % b",".join(b'"f%d": 1' % n for n in range(300))),
    "with a very long number": ("POST", "/v1/boxes", JSON, b'{"name": "n", "size": ' + b"9" * 5000 + b"}"),
    "large": ("POST", "/v1/boxes", JSON, b'{"name": "%s"}' % (b"n" * LARGE)),
    "large and broken": ("POST", "/v1/boxes", JSON, b'{"name": "%s"' % (b"n" * LARGE)),
    "large with too many values": ("POST", "/v1/boxes", JSON, b"[%s]" % (b"1," * LARGE)),
    "null": ("POST", "/v1/boxes", JSON, b"null"),
    "a list": ("POST", "/v1/boxes", JSON, b"[]"),
    "without a body": ("POST", "/v1/boxes", JSON, b""),
    "without a body and media type": ("POST", "/v1/boxes", {"x-key": "abc"}, b""),
    "without a media type": ("POST", "/v1/boxes", {"x-key": "abc"}, GOOD),
    "with a character set": ("POST", "/v1/boxes", JSON | {"content-type": "Application/JSON; charset=utf-8"}, GOOD),
    "of a kind of JSON": ("POST", "/v1/boxes", JSON | {"content-type": "application/vnd.box+json"}, GOOD),
    "as text": ("POST", "/v1/boxes", JSON | {"content-type": "text/plain"}, GOOD),
    "to a path with a parameter": ("GET", "/v1/boxes/a%20b?unknown=1", {}, b""),
    "to a longer path": ("POST", "/v1/boxes/", JSON, GOOD),
    "for headers": ("HEAD", "/v1/boxes/7", {}, b""),
    "of another method": ("PATCH", "/v1/boxes", {}, b""),
    "for options": ("OPTIONS", "/api/v1/boxes", {}, b""),
}  # fmt: skip


async def ask(run: Any, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[Any, ...]:
    """Return the status, the headers and the body of the answer, or the error that escapes."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(run), base_url="http://test") as client:
        try:
            answer = await client.request(method, path, headers=headers, content=body)
        except ValueError as error:
            return (str(error),)
    return answer.status_code, answer.headers.multi_items(), answer.content


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_a_plain_route_answers_as_its_declaration_would(
    request_: tuple[str, str, dict[str, str], bytes],
) -> None:
    assert asyncio.run(ask(PLAIN, *request_)) == asyncio.run(ask(DECLARED, *request_))


def test_the_declaration_answers_no_requests() -> None:
    """Otherwise the test above would compare the framework with itself."""
    assert not [route for route in router.routes if declaration(route) is route]
