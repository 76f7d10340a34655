"""Reads the span in which a client calls."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Receive, Scope, Send

from agent.coordinator.features.telemetry import parents
from agent.coordinator.operations.context import Context


class ParentSpans:
    """ASGI middleware that notes the span of each request that may submit a job."""

    def __init__(self, app: ASGIApp, _: Context) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and scope["method"] == "POST":
            for name, value in scope["headers"]:
                if name == b"traceparent":
                    parents.note(value.decode("latin-1"), time.time())
        await self._app(scope, receive, send)
