"""Refuses client libraries that are too old, and states the coordinator's version in every answer."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent import __version__
from agent.coordinator.http.middleware import answer_error
from agent.core.errors import ClientOutdated
from agent.core.versions import client_problem

VERSION_HEADER: Final = "X-AITBC-Version"
HEALTH: Final = "/v1/health"
"""The path that answers every client: it states which versions are served."""
_CLIENT: Final = re.compile(rb"aitbc-(?:python|javascript)/([0-9][0-9A-Za-z.+-]{0,40})")
_HEADER: Final = (VERSION_HEADER.lower().encode(), __version__.encode())


class ClientVersions:
    """ASGI middleware that answers 409 to our client libraries of a version that is not served. Other clients state no version."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        async def marked(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                message["headers"] = [*message["headers"], _HEADER]
            await send(message)

        agent = next((value for name, value in scope["headers"] if name == b"user-agent"), b"")
        problem = _problem(agent) if agent.startswith(b"aitbc-") else None
        if problem is None or scope["path"].endswith(HEALTH):
            await self._app(scope, receive, marked)
            return
        if scope["type"] == "websocket":
            await receive()  # the handshake
        await answer_error(scope, marked, ClientOutdated(problem))


# The libraries of a network's clients have few different versions.
@lru_cache(256)
def _problem(user_agent: bytes) -> str | None:
    match = _CLIENT.match(user_agent)
    return None if match is None else client_problem(match[1].decode(), __version__)
