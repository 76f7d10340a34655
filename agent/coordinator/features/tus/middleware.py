"""ASGI middleware: what the tus protocol requires of every request and answer."""

from __future__ import annotations

import re
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.coordinator.features.tus.errors import UnsupportedVersion
from agent.coordinator.features.tus.headers import VERSION
from agent.coordinator.operations.context import Context

_UPLOADS: Final = re.compile(r"(/api)?/v1/uploads(/[^/]+)?")


class Tus:
    """Handles what the tus protocol requires of every request and answer about uploads (see agent/coordinator/features/tus/headers.py)."""

    def __init__(self, app: ASGIApp, context: Context) -> None:  # noqa: ARG002 - all middleware of features gets it
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or _UPLOADS.fullmatch(scope["path"]) is None:
            await self._app(scope, receive, send)
            return
        method = dict(scope["headers"]).get(b"x-http-method-override")
        if method is not None and scope["method"] == "POST":  # from clients that cannot send other methods
            scope["method"] = method.decode("latin-1").upper()

        # The protocol requires its header on every answer, also on errors that are raised outside the routes.
        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"tus-resumable", VERSION.encode())]
                if message["status"] == UnsupportedVersion.status:
                    message["headers"].append((b"tus-version", VERSION.encode()))
            await send(message)

        await self._app(scope, receive, marked)
