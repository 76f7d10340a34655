"""What stands before Ollama's paths."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from agent.coordinator.features.ollama.paths import PATHS


class AnyMediaType:
    """Middleware that reads the bodies of these paths as JSON: so does Ollama, whose documented `curl` commands name no media type."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and PATHS.fullmatch(scope["path"]):
            headers = [pair for pair in scope["headers"] if pair[0] != b"content-type"]
            scope = {**scope, "headers": [*headers, (b"content-type", b"application/json")]}
        await self._app(scope, receive, send)
