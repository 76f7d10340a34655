"""Requests of the coordinator to itself: through its own application, without a socket or a key.

Their caller is in the scope, where only this process can write: a server makes the scopes of requests from outside.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope

from agent.coordinator import tracing
from agent.coordinator.http.middleware import answer_error
from agent.coordinator.operations.callers import Caller
from agent.coordinator.randomness import random_bytes
from agent.core.errors import InternalError

IN_PROCESS: Final = "aitbc.in_process"
"""The field of the scope that these requests have."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OwnAnswer:
    """An answer. The names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    request_id: str


@dataclass(frozen=True, slots=True)
class OwnApplication:
    """The application behind a middleware. `framework` is what routes find in the scope as `app`."""

    inner: ASGIApp
    framework: Any

    async def post(self, caller: Caller, path: str, body: bytes, key: str) -> OwnAnswer:
        """Send JSON as this caller, with an idempotency key. Cancelling it is the client's disconnection."""
        request_id = random_bytes(8).hex()
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            "idempotency-key": key,
        }
        scope: Scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "method": "POST", "path": path,
            "raw_path": path.encode(), "root_path": "", "query_string": b"", "client": None, "server": None, "state": {},
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "app": self.framework, "request_id": request_id, "answered": False, "known_host": True,
            IN_PROCESS: True, "credential": None, "caller": caller,
        }  # fmt: skip
        tracing.begin(None)
        received = _Received()
        try:
            await self.inner(scope, _sent(body), received.add)
        except Exception:
            log.exception("request_failed", path=path, method="POST", request_id=request_id)
            received = _Received()
            error = InternalError("The server failed. Its log has the details under this request's id.")
            await answer_error(scope, received.add, error)
        return received.answer(request_id)


class _Received:
    def __init__(self) -> None:
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()

    async def add(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], list(message.get("headers", ()))
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")

    def answer(self, request_id: str) -> OwnAnswer:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self._headers}
        return OwnAnswer(self._status, headers, bytes(self._body), request_id)


def _sent(body: bytes) -> Receive:
    """Return the `receive` of a client that sends a body and stays."""
    is_sent = False

    async def receive() -> Message:
        nonlocal is_sent
        if not is_sent:
            is_sent = True
            return {"type": "http.request", "body": body, "more_body": False}
        await asyncio.Event().wait()
        raise AssertionError

    return receive
