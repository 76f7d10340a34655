"""`Direct` answers as the framework does."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Form, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp, Message

from agent.coordinator.http.direct import Direct, plain_routes
from agent.coordinator.http.large_json import LARGE


class Sent(BaseModel):
    name: str
    size: int = Field(default=3, ge=1)
    nested: dict[str, Any] | None = None


class Answered(BaseModel):
    name: str
    seen: list[str]
    nothing: str | None = None


class More(Answered):
    more: int = 1


async def key_of(request: Request) -> str:
    if "x-key" not in request.headers:
        raise HTTPException(401, "no key")
    return request.headers["x-key"]


async def waiting(prefer: Annotated[str | None, Header(alias="Prefer")] = None) -> int:
    return len(prefer or "")


Key = Annotated[str, Depends(key_of)]
Wait = Annotated[int, Depends(waiting)]
router = APIRouter(prefix="/v1/boxes")


@router.post("", status_code=201, response_model_exclude_none=True)
async def create(
    key: Key,
    sent: Sent,
    wait: Wait,
    response: Response,
    tag: Annotated[str | None, Header(alias="X-Tag", max_length=5)] = None,
) -> Answered:
    if wait:
        response.headers["Preference-Applied"] = str(wait)
    if sent.name == "teapot":
        response.status_code = 418
    if sent.name == "broken":
        raise ValueError("broken")
    return Answered(name=sent.name, seen=[key, str(sent.size), str(tag), str(sent.nested)])


@router.get("")
async def search(
    key: Key,
    limit: Annotated[int, Query(ge=1, le=9)] = 5,
    label: Annotated[list[str], Query()] = [],  # noqa: B006 - the framework copies it
) -> Answered:
    return Answered(name=key, seen=[str(limit), *label])


@router.get("/special")
async def special(key: Key) -> Answered:
    return More(name=key, seen=[])


@router.get("/wrong")
async def wrong() -> Answered:
    return {"name": 1}  # type: ignore[return-value]


@router.get("/{box}")
async def one(box: int, must: Annotated[str, Header(alias="X-Must")]) -> Answered:
    return Answered(name=str(box), seen=[must])


@router.head("/{box}/content", response_class=Response)
@router.get("/{box}/content", response_class=Response, dependencies=[Depends(key_of)])
async def content(
    box: Annotated[int, Path(le=9)],
    offset: Annotated[int, Query(ge=0)] = 0,
    media_type: Annotated[str | None, Query(alias="type", max_length=9)] = None,
    more: bool = False,
) -> Response:
    return Response(f"{box} {offset} {more}", 206 if offset else 200, {"X-Box": "1"}, media_type)


@router.put("/{box}")
async def upload(box: str, request: Request) -> Answered:
    parts = [part.decode() async for part in request.stream()]
    return Answered(name=box, seen=[part for part in parts if part])


@router.delete("/{box}", status_code=204)
async def delete(box: str) -> None:
    return None


@router.post("/{box}/text")
async def text(box: str, sent: Sent | None = None) -> Answered:
    return PlainTextResponse(f"{box} {sent}", 202)  # type: ignore[return-value]


@router.post("/{box}/form")
async def form(box: str, field: Annotated[str, Form()]) -> Answered:
    return Answered(name=box, seen=[field])


def app() -> tuple[ASGIApp, ASGIApp]:
    """Return the application as the framework runs it, and with `Direct`."""
    framework = FastAPI(openapi_url=None)
    framework.router.routes.extend(router.routes)
    framework.mount("/api", router)

    async def invalid(_: Request, error: Any) -> Response:
        return PlainTextResponse(f"{error.errors()} {error.body}", 422)

    async def broken(_: Request, error: Any) -> Response:
        return PlainTextResponse(str(error), 500)

    handlers: Any = {RequestValidationError: invalid, ValueError: broken}
    inner = AsyncExitStackMiddleware(framework.router)
    direct = Direct(inner, plain_routes(framework.routes))
    return ExceptionMiddleware(inner, handlers), ExceptionMiddleware(direct, handlers)


FRAMEWORK, DIRECT = app()
JSON = ("content-type", "application/json")
KEY = ("x-key", "abc")
OF_BOX = ("X-Must", "yes")


def ask(
    run: ASGIApp, method: str, path: str, headers: tuple[tuple[str, str], ...], body: bytes, chunks: int
) -> list[Message] | str:
    """Return the messages of the answer, or the type of the error that escapes."""
    raw_path, _, query = path.partition("?")
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    if body:
        raw.append((b"content-length", str(len(body)).encode()))
    scope = {
        "type": "http", "method": method, "path": raw_path, "raw_path": raw_path.encode(), "root_path": "", "query_string": query.encode(),
        "headers": raw, "http_version": "1.1", "scheme": "http", "server": ("host", 80), "client": ("127.0.0.1", 1), "state": {},
    }  # fmt: skip
    step = max(1, -(-len(body) // chunks))
    parts = [body[start : start + step] for start in range(0, len(body), step)] or [b""]
    messages: list[Message] = [
        {"type": "http.request", "body": part, "more_body": number < len(parts)}
        for number, part in enumerate(parts, 1)
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    try:
        asyncio.run(run(scope, receive, send))
    except Exception as error:  # noqa: BLE001 - compared
        return type(error).__name__
    return sent


GOOD = b'{"name": "n", "nested": {"a": [1.50, null]}}'
REQUESTS: list[tuple[str, str, tuple[tuple[str, str], ...], bytes]] = [
    ("POST", "/v1/boxes", (JSON, KEY), GOOD),
    ("POST", "/api/v1/boxes", (JSON, KEY, ("Prefer", "wait=3"), ("X-Tag", "t\xe4g")), GOOD),
    ("POST", "/v1/boxes", (JSON, KEY, ("X-Tag", "far too long")), GOOD),
    ("POST", "/v1/boxes", (JSON, KEY, ("Prefer", "a"), ("Prefer", "bc")), GOOD),
    ("POST", "/v1/boxes", (JSON, KEY), b'{"name": "teapot"}'),
    ("POST", "/v1/boxes", (JSON, KEY), b'{"name": "broken"}'),
    ("POST", "/v1/boxes", (JSON,), GOOD),
    ("POST", "/v1/boxes", (JSON,), b'{"size": 0}'),
    ("POST", "/v1/boxes", (JSON, KEY), b'{"size": 0, "name": 4}'),
    ("POST", "/v1/boxes", (JSON, KEY), b'{"name": "n", "size": "4", "nested": {"x": NaN}}'),
    ("POST", "/v1/boxes", (JSON, KEY), b'{"name": "n",'),
    ("POST", "/v1/boxes", (JSON, KEY), b'{"name": "\xff"}'),
    ("POST", "/v1/boxes", (JSON, KEY), b"[" * 10_000),
    ("POST", "/v1/boxes", (JSON, KEY), b'{"name": "n", "size": ' + b"9" * 5000 + b"}"),
    ("POST", "/v1/boxes", (JSON, KEY), b'{"name": "%s"}' % (b"n" * LARGE)),
    ("POST", "/v1/boxes", (JSON, KEY), b"null"),
    ("POST", "/v1/boxes", (JSON, KEY), b""),
    ("POST", "/v1/boxes", (KEY,), GOOD),
    ("POST", "/v1/boxes", (KEY, ("content-type", "application/json; charset=utf-8")), GOOD),
    ("POST", "/v1/boxes", (KEY, ("content-type", "text/plain")), GOOD),
    ("GET", "/v1/boxes", (KEY,), b""),
    ("GET", "/v1/boxes?limit=3&label=a&label=b", (KEY,), b""),
    ("GET", "/v1/boxes?limit=30", (KEY,), b""),
    ("GET", "/v1/boxes", (), b""),
    ("GET", "/v1/boxes/", (KEY,), b""),
    ("GET", "/v1/boxes/special", (KEY,), b""),
    ("GET", "/v1/boxes/special?x=1", (KEY,), b""),
    ("GET", "/v1/boxes/wrong", (), b""),
    ("GET", "/v1/boxes/7", (OF_BOX,), b""),
    ("GET", "/v1/boxes/7", (), b""),
    ("GET", "/v1/boxes/seven", (OF_BOX,), b""),
    ("HEAD", "/v1/boxes/7", (OF_BOX,), b""),
    ("GET", "/v1/boxes/7/content", (KEY,), b""),
    ("GET", "/v1/boxes/7/content", (), b""),
    ("GET", "/v1/boxes/7/content?offset=3&type=a%2Fb+c&more=yes&other=1", (KEY,), b""),
    ("GET", "/v1/boxes/7/content?offset=3&offset=4&type=&more", (KEY,), b""),
    ("GET", "/v1/boxes/7/content?offset=-3", (KEY,), b""),
    ("GET", "/v1/boxes/7/content?offset=&more=maybe", (KEY,), b""),
    ("GET", "/v1/boxes/7/content?type=much/too-long", (KEY,), b""),
    ("GET", "/v1/boxes/10/content?offset=3", (KEY,), b""),
    ("HEAD", "/v1/boxes/7/content?offset=3", (), b""),
    ("PATCH", "/v1/boxes/7", (), b""),
    ("PUT", "/v1/boxes/7", (), b"some bytes"),
    ("DELETE", "/v1/boxes/7", (), b""),
    ("POST", "/v1/boxes/7/text", (JSON,), GOOD),
    ("POST", "/v1/boxes/7/text", (), b""),
    ("POST", "/v1/boxes/7/form", (("content-type", "application/x-www-form-urlencoded"),), b"field=a+b"),
    ("GET", "/v1/boxes/7/none", (), b""),
    ("GET", "/v1/nothing", (), b""),
    ("GET", "/boxes/7", (), b""),
]


@pytest.mark.parametrize("chunks", [1, 3])
@pytest.mark.parametrize(("method", "path", "headers", "body"), REQUESTS, ids=range(1, len(REQUESTS) + 1))
def test_the_answer_is_the_frameworks(
    method: str, path: str, headers: tuple[tuple[str, str], ...], body: bytes, chunks: int
) -> None:
    expected = ask(FRAMEWORK, method, path, headers, body, chunks)
    assert expected, "there is an answer"
    assert ask(DIRECT, method, path, headers, body, chunks) == expected


def test_valid_requests_do_not_reach_the_framework() -> None:
    """Otherwise the test above would compare the framework with itself."""

    async def none(*_: Any) -> None:
        raise AssertionError

    framework = FastAPI(openapi_url=None)
    framework.router.routes.extend(router.routes)
    direct = Direct(none, plain_routes(framework.routes))
    for number in (0, 20, 25, 28, 32, 34, 40, 42):
        method, path, headers, body = REQUESTS[number]
        for mounted in (path, f"/api{path}"):
            assert ask(direct, method, mounted, headers, body, 1) != "AssertionError", mounted
