"""ASGI middleware: request ids, paths with control characters, unexpected errors."""

from __future__ import annotations

import json
import re
import time
from typing import Final

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.coordinator import tracing
from agent.coordinator.metrics import REQUEST_SECONDS, REQUESTS
from agent.coordinator.randomness import random_bytes
from agent.core.errors import ApiError, InternalError, NotFound, Unauthorized, error_body
from agent.core.tracing import trace_id_in
from agent.metrics import Meter

API_MOUNT: Final = "/api"
"""The path under which the API also answers."""
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_FILES: Final = "/dashboard"
"""The common route name of all static files."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

log = structlog.get_logger()


class Paths:
    """Answers 404 to paths with control characters, which no call has.

    The framework's routes end in "$", which also matches before a final line feed, so such a path could reach a call whose limits are
    chosen by its whole path. It runs before all that looks at paths.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket") or _CONTROLS.search(scope["path"]) is None:
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await receive()  # the handshake
        await answer_error(scope, send, NotFound("The path contains control characters; no call's does."))


class Failures:
    """Answers 500 to unexpected errors, so that the connection stays open, and logs them with the request's id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except ClientDisconnect:
            log.info("client_left", path=scope["path"], method=scope["method"])
        except Exception:
            log.exception(
                "request_failed",
                path=scope["path"],
                method=scope["method"],
                request_id=scope["request_id"],
                trace_id=tracing.answered(),
            )
            if scope["answered"]:
                raise
            await answer_error(
                scope,
                send,
                InternalError("The server failed. Its log has the details under this request's id."),
            )


class RequestIds:
    """Gives every request an id, which `X-Request-ID`, errors and the log contain, and records the metrics of answers."""

    def __init__(self, app: ASGIApp, meter: Meter) -> None:
        self._app = app
        self._meter = meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request_id = random_bytes(8).hex()
        scope["request_id"], scope["answered"] = request_id, False
        begun = time.perf_counter()
        tracing.begin(_client_trace(scope))

        async def marked(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                scope["answered"] = True
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
                if (trace_id := tracing.answered()) is not None:
                    message["headers"].append((b"x-trace-id", trace_id.encode()))
                if scope["type"] == "http":
                    self._note(scope, message["status"], time.perf_counter() - begun)
            await send(message)

        await self._app(scope, receive, marked)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route, method = _template(scope), scope["method"]
        method = method if method in _METHODS else "other"
        self._meter.count(REQUESTS, route, method, str(status))
        self._meter.observe(REQUEST_SECONDS, seconds, route, method)


def _client_trace(scope: Scope) -> str | None:
    traceparents = [value for name, value in scope["headers"] if name == b"traceparent"]
    return trace_id_in(traceparents[0].decode("latin-1")) if len(traceparents) == 1 else None


def _template(scope: Scope) -> str:
    """Return the path of the route with its parameters' names, which limits the number of metrics."""
    route = scope.get("route")
    if route is None:
        return _FILES if scope["path"].startswith(_FILES) else "none"
    path: str = route.path
    return path


async def answer_error(scope: Scope, send: Send, error: ApiError) -> None:
    """Answer an error in the API's form, before the application sees the request."""
    content = error_body(error.code, error.message, error.details, scope.get("request_id", ""))
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
    if error.status == Unauthorized.status:
        headers.append((b"www-authenticate", b"Bearer"))
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    await send({"type": f"{kind}.start", "status": error.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})
