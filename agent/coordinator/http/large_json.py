"""Decodes large JSON bodies without holding up everybody else.

A decoder in C keeps the interpreter's lock from the first byte to the last, so that no thread helps against a body of many
megabytes: the event loop stands still as if it decoded the body itself. Python's own decoder, in Python, lets go of the lock every
few milliseconds. It takes ten times as long, in a thread of its own, one body after the other.
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
"""Bytes from which a body is decoded in the thread; smaller ones take a few milliseconds at most."""

_thread: Final = ThreadPoolExecutor(1, thread_name_prefix="large-json")


class _Decoder(json.JSONDecoder):
    def __init__(self) -> None:
        super().__init__()
        self.scan_once = py_make_scanner(self)


async def decode_large(content: str | bytes, max_values: int) -> Any:
    """Return what JSON says. Raises `ValueError`, `RecursionError`, and `PayloadTooLarge` for too many values."""
    return await asyncio.get_running_loop().run_in_executor(_thread, _decode, content, max_values)


def _decode(content: str | bytes, max_values: int) -> Any:
    text = content if isinstance(content, str) else content.decode(json.detect_encoding(content))
    # As many commas and openings as values, or more where texts have them.
    if sum(text.count(sign) for sign in ",[{") > max_values:
        raise PayloadTooLarge(
            f"The JSON has more than {max_values} values; send data as a file.", {"limit": max_values}
        )
    return _Decoder().decode(text)


class _LargeRequest(Request):
    async def json(self) -> Any:
        body = await self.body()
        if len(body) < LARGE:
            return await super().json()
        try:
            return await decode_large(body, self.app.state.context.settings.max_json_values)
        except PayloadTooLarge as error:  # the framework lets only its own errors pass
            raise HTTPException(error.status, error.message) from None


class LargeJsonRoute(APIRoute):
    """A route whose JSON body may be large."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The framework's, with a request that decodes large bodies elsewhere."""
        handler = super().get_route_handler()
        if self.body_field is None:
            return handler

        async def handle(request: Request) -> Response:
            declared = request.headers.get("content-length", "")
            if declared.isdecimal() and int(declared) < LARGE:
                return await handler(request)
            return await handler(_LargeRequest(request.scope, request.receive))

        return handle
