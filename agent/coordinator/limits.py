"""What stands before the application: a limit on bodies, and an id for every request."""

from __future__ import annotations

import json
import re
import secrets
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.core.errors import PayloadTooLarge
from agent.settings import CoordinatorSettings

# These stream to disk and keep the larger limit of artifacts themselves.
_STREAMED: Final = re.compile(r"(/api)?/v1/(artifacts|jobs/[^/]+/files/[^/]+)")
_RESULTS: Final = re.compile(r"(/api)?/v1/miners/jobs/[^/]+/result")


class _TooLargeError(Exception):
    """The body went over its limit while it was read."""


class BodyLimit:
    """Answers 413 to a body over its limit, by its header or while it arrives, before it is in memory."""

    def __init__(self, app: ASGIApp, limits: CoordinatorSettings) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or _STREAMED.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        limit = self._limits.max_result if _RESULTS.fullmatch(scope["path"]) else self._limits.max_body
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            await _refuse(scope, send, limit)
            return
        received = 0
        started = False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _TooLargeError
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, counted, noted)
        except _TooLargeError:
            if started:
                raise
            await _refuse(scope, send, limit)


class RequestIds:
    """Gives every request an id, answered as `X-Request-ID` and named in errors."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = secrets.token_hex(8)
        scope["request_id"] = request_id

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        await self._app(scope, receive, marked)


async def _refuse(scope: Scope, send: Send, limit: int) -> None:
    error = {
        "code": PayloadTooLarge.code,
        "message": f"The body may have at most {limit} bytes; upload files with POST /v1/artifacts.",
        "details": {"limit": limit},
        "request_id": scope.get("request_id", ""),
    }
    body = json.dumps({"error": error}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": PayloadTooLarge.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
