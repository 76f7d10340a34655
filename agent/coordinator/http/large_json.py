"""Decodes large JSON bodies without blocking other requests.

A decoder in C holds the interpreter's lock from the first byte to the last, so for a body of many megabytes a thread does not help:
the event loop is still blocked. The standard library's pure Python decoder releases the lock every few milliseconds. It takes
ten times as long, in its own thread, one body at a time.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from json.scanner import py_make_scanner  # type: ignore[attr-defined] # the fallback where there is no decoder in C
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from agent.core.errors import PayloadTooLarge

LARGE: Final = 256 * 1024
"""Bytes from which a body is decoded in the thread. Smaller ones take a few milliseconds at most."""

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
    # There is a comma or an opening bracket for each value; strings may contain more.
    if sum(text.count(sign) for sign in ",[{") > max_values:
        raise PayloadTooLarge(
            f"The JSON has more than {max_values} values. Send the data as a file.", {"limit": max_values}
        )
    return _Decoder().decode(text)


class _LargeRequest(Request):
    async def json(self) -> Any:
        body = await self.body()
        if len(body) < LARGE:
            return await super().json()
        try:
            return await decode_large(body, self.app.state.context.settings.max_json_values)
        except PayloadTooLarge as error:  # the framework passes on only its own errors
            raise HTTPException(error.status, error.message) from None


class LargeJsonRoute(APIRoute):
    """A route whose JSON body may be large."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the framework's handler, with a request that decodes large bodies in the thread."""
        handler = super().get_route_handler()
        if self.body_field is None:
            return handler

        async def handle(request: Request) -> Response:
            declared = request.headers.get("content-length", "")
            if declared.isdecimal() and int(declared) < LARGE:
                return await handler(request)
            return await handler(_LargeRequest(request.scope, request.receive))

        return handle
