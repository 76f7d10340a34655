"""Errors in the form of another API, for the clients of that API."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.coordinator.operations.context import Context

Reform = Callable[[int, Mapping[str, Any]], tuple[int, Mapping[str, Any]]]
"""Returns status and body of an error, given its status and the fields that every error has (`error_body`)."""


class ErrorForm:
    """Middleware that writes the errors of some paths in another form, those of the route, of limits and of unknown keys alike."""

    def __init__(self, app: ASGIApp, paths: re.Pattern[str], reform: Reform) -> None:
        self._app = app
        self._paths = paths
        self._reform = reform

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or not self._paths.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        begin: Message | None = None
        body = b""

        async def reformed(message: Message) -> None:
            nonlocal begin, body
            if message["type"] == "http.response.start" and message["status"] >= HTTPStatus.BAD_REQUEST:
                begin = message  # held until the body is complete, since its length changes
            elif begin is None:
                await send(message)
            else:
                body += message.get("body", b"")
                if not message.get("more_body"):
                    for part in self._answer(begin, body):
                        await send(part)

        await self._app(scope, receive, reformed)

    def _answer(self, begin: Message, body: bytes) -> tuple[Message, Message]:
        if not body:  # as for HEAD
            return begin, {"type": "http.response.body"}
        status, form = self._reform(begin["status"], json.loads(body)["error"])
        content = json.dumps(form).encode()
        headers = [pair for pair in begin["headers"] if pair[0].lower() != b"content-length"]
        headers.append((b"content-length", str(len(content)).encode()))
        return {**begin, "status": status, "headers": headers}, {
            "type": "http.response.body",
            "body": content,
        }


def error_form(paths: re.Pattern[str], reform: Reform) -> Callable[[ASGIApp, Context], ASGIApp]:
    """Return the middleware for a feature, see `Feature.middleware`."""
    return lambda app, _: ErrorForm(app, paths, reform)
