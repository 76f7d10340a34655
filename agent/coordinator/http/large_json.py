"""Decodes JSON bodies without blocking other requests: the number of their values is limited, and large ones are decoded in a thread.

Everything that follows takes a time that grows with the number of values: validation, canonical JSON, each later answer. A text of
several megabytes is one value, so the size of a body does not limit it.

A decoder in C holds the interpreter's lock from the first byte to the last, so for a body of many megabytes a thread does not help:
the event loop is still blocked. The standard library's pure Python decoder releases the lock every few milliseconds. It takes
ten times as long, in its own thread, one body at a time.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from json.scanner import py_make_scanner  # type: ignore[attr-defined] # the fallback where there is no decoder in C
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import Scope

from agent.core.errors import ApiError, PayloadTooLarge, invalid_request
from runners.validation_errors import too_many_fields

LARGE: Final = 256 * 1024
"""Bytes from which a body is decoded in the thread. Smaller ones take a few milliseconds at most."""

MAX_VALUES: Final = "max_values"
"""The key of a request's scope with the number of values that its JSON may have."""
DEFAULT_VALUES: Final = 20_000
_STRING: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""A string, or an unterminated one up to the end."""

_thread: Final = ThreadPoolExecutor(1, thread_name_prefix="large-json")


class _Decoder(json.JSONDecoder):
    def __init__(self) -> None:
        super().__init__()
        self.scan_once = py_make_scanner(self)


async def decode_large(content: str | bytes, max_values: int) -> Any:
    """Return decoded JSON. Raises `ValueError`, `RecursionError`, and `PayloadTooLarge` for too many values."""
    return await asyncio.get_running_loop().run_in_executor(_thread, _decode, content, max_values)


def _decode(content: str | bytes, max_values: int) -> Any:
    text = content if isinstance(content, str) else content.decode(json.detect_encoding(content))
    limit_values(text, max_values)
    return _Decoder().decode(text)


def limit_values(content: str | bytes, limit: int) -> None:
    """Raise `PayloadTooLarge` if JSON has more than `limit` values. Broken JSON raises `ValueError`, or nothing.

    There is a comma or an opening bracket for each value. Those inside of strings are left out if all together are too many.
    """
    if _separators(content) <= limit:
        return
    text = content if isinstance(content, str) else content.decode(json.detect_encoding(content))
    values = start = 0
    for string in _STRING.finditer(text):
        values += _separators(text[start : string.start()])
        start = string.end()
        if values > limit:
            break
    if values + _separators(text[start:]) > limit:
        raise PayloadTooLarge(
            f"The JSON has more than {limit} values, which is the limit. Upload large data as a file with POST /v1/artifacts, and refer to it.",
            {"limit": limit},
        )


def limit_fields(value: Any) -> Any:
    """Return decoded JSON. Raises `ValidationFailed` for an object with many more fields than any call has, each of which would be an error."""
    if (wrong := too_many_fields(value)) is not None:
        raise invalid_request({"body": wrong})
    return value


def _separators(part: str | bytes) -> int:
    if isinstance(part, str):
        return sum(part.count(sign) for sign in ",[{")
    return sum(part.count(sign) for sign in (b",", b"[", b"{"))


async def read_json(scope: Scope, body: bytes) -> Any:
    """Return the decoded body of a request. Raises `ValueError`, `RecursionError`, and the errors of JSON with too many values or fields."""
    limit: int = scope.get(MAX_VALUES, DEFAULT_VALUES)
    if len(body) >= LARGE:
        return limit_fields(await decode_large(body, limit))
    limit_values(body, limit)
    return limit_fields(json.loads(body))


class _LimitedRequest(Request):
    async def json(self) -> Any:
        try:
            return await read_json(self.scope, await self.body())
        except ApiError as error:
            # The framework passes on only its own errors; any other would be a broken body to it.
            raise HTTPException(error.status, error.message) from error


class LargeJsonRoute(APIRoute):
    """A route whose JSON body is limited, and may be large."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the framework's handler, with a request that limits its JSON and decodes large bodies in the thread."""
        handler = super().get_route_handler()
        if self.body_field is None:
            return handler

        async def handle(request: Request) -> Response:
            return await handler(_LimitedRequest(request.scope, request.receive))

        return handle
