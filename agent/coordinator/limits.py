"""What stands before the application: a limit on bodies, and an id for every request."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from contextlib import suppress
from typing import Final

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.core.errors import InternalError, PayloadTooLarge
from agent.settings import CoordinatorSettings

# These stream to disk and keep the larger limit of artifacts themselves.
_STREAMED: Final = re.compile(r"(/api)?/v1/(artifacts|jobs/[^/]+/files/[^/]+)")
DRAIN_BYTES: Final = 64 * 2**20
DRAIN_SECONDS: Final = 10.0

MAX_RECEIPT: Final = 256 * 1024

_OPEN: Final = re.compile(r"(/api)?/v1/receipts/verify")
_RESULTS: Final = re.compile(r"(/api)?/v1/miners/jobs/[^/]+/result")


log = structlog.get_logger()


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
        limit = self._limit(scope["path"])
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            await _drain(receive)
            await _refuse(scope, send, limit)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                if message.get("more_body"):
                    await _drain(receive)
                raise HTTPException(PayloadTooLarge.status, _message(limit))
            return message

        await self._app(scope, counted, send)

    def _limit(self, path: str) -> int:
        if _RESULTS.fullmatch(path):
            return self._limits.max_result
        # Anybody may have receipts verified, so they may be as long as receipts are.
        return min(MAX_RECEIPT, self._limits.max_body) if _OPEN.fullmatch(path) else self._limits.max_body


class Failures:
    """Answers 500 for what nobody expected, so that the connection lives on, and logs it with the request's id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception:
            log.exception(
                "request_failed", path=scope["path"], method=scope["method"], request_id=scope["request_id"]
            )
            if started:
                raise
            await _answer(
                scope,
                send,
                InternalError.status,
                InternalError.code,
                "The server failed; its log has the request id.",
            )


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


async def _drain(receive: Receive) -> None:
    """Read on for a while, since a client that still sends when the connection ends never sees the answer."""
    drained = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while drained < DRAIN_BYTES:
                message = await receive()
                drained += len(message.get("body", b""))
                if not message.get("more_body"):
                    return


async def _refuse(scope: Scope, send: Send, limit: int) -> None:
    details = {"limit": limit}
    await _answer(
        scope, send, PayloadTooLarge.status, PayloadTooLarge.code, _message(limit), details, close=True
    )


async def _answer(
    scope: Scope,
    send: Send,
    status: int,
    code: str,
    message: str,
    details: dict[str, int] | None = None,
    *,
    close: bool = False,
) -> None:
    error = {
        "code": code,
        "message": message,
        "details": details or {},
        "request_id": scope.get("request_id", ""),
    }
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _message(limit: int) -> str:
    return f"The body may have at most {limit} bytes; upload files with POST /v1/artifacts."
