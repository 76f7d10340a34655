"""What marks the answers of this API: the form of errors, the header with a request's id, and the list of models at OpenAI's path."""

from __future__ import annotations

import re
from typing import Final

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.coordinator.features.anthropic.errors import reform
from agent.coordinator.features.client_apis.middleware import ErrorForm
from agent.coordinator.operations.context import Context

PATHS: Final = re.compile(r"(?:/api)?/v1/(?:messages|anthropic)(?:/.*)?")
MODELS: Final = re.compile(r"((?:/api)?/v1/)(models(?:/.*)?)")
CONNECTION: Final = "/api/hello"
"""What Claude Code asks before its first request, to find out whether there is a connection."""


class AnthropicAnswers:
    """Middleware for the paths of this API, and for its clients at the paths that OpenAI's clients use too."""

    def __init__(self, app: ASGIApp, _: Context) -> None:
        self._app = app
        self._reformed = ErrorForm(app, PATHS, reform)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] == CONNECTION:
            await JSONResponse({"message": "hello"})(scope, receive, send)
            return
        lists = MODELS.fullmatch(scope["path"])
        if lists and any(name == b"anthropic-version" for name, _ in scope["headers"]):
            scope["path"] = f"{lists[1]}anthropic/{lists[2]}"

        async def named(message: Message) -> None:
            # Where these clients look for it.
            if message["type"] == "http.response.start" and PATHS.fullmatch(scope["path"]):
                message["headers"] = [*message["headers"], (b"request-id", scope["request_id"].encode())]
            await send(message)

        await self._reformed(scope, receive, named)
