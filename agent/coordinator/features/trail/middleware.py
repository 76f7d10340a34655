"""ASGI middleware that writes down what administrators do: each of their calls that has changed something.

An answer is sent only when its entry is stored, so a caller that got one finds the entry. If the process dies between the change and the entry, only the log has the call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.coordinator.features.trail import store
from agent.coordinator.features.trail.store import TrailRecord
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Context
from aitbc.answers.accounts import Role

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_AFFAIRS: Final = re.compile(
    r"(?:/api)?(/v1/(?:admin|miners|fleet|machines|offers|audits|keys|sessions|logins)(?:/.*)?)"
)
"""What administrators may change of others. Jobs and files that they submit themselves are a client's."""
_LARGEST_BODY: Final = 16_384
_LONGEST_VALUE: Final = 200
_MOST_FIELDS: Final = 20
_SECRET: Final = re.compile(r"secret|token|password|key$", re.IGNORECASE)
_ERROR: Final = 400

log = structlog.get_logger()


class Trail:
    """The middleware."""

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self._app = app
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        match = (
            _AFFAIRS.fullmatch(scope["path"])
            if scope["type"] == "http" and scope["method"] not in _READING
            else None
        )
        if match is None:
            await self._app(scope, receive, send)
            return
        body = bytearray()

        async def copying() -> Message:
            message = await receive()
            if message["type"] == "http.request" and len(body) <= _LARGEST_BODY:
                body.extend(message.get("body", b"")[: _LARGEST_BODY + 1])
            return message

        async def recording(message: Message) -> None:
            caller = scope.get("caller")
            if (
                message["type"] == "http.response.start"
                and message["status"] < _ERROR
                and isinstance(caller, Caller)
                and caller.role is Role.ADMIN
            ):
                await self._record(scope, caller, match[1], bytes(body))
            await send(message)

        await self._app(scope, copying, recording)

    async def _record(self, scope: Scope, caller: Caller, path: str, body: bytes) -> None:
        context = self._context
        route = scope.get("route")
        action = getattr(route, "summary", None) or getattr(route, "name", None) or path
        record = TrailRecord(
            context.new_id("trail"), context.clock(), caller.key_id, caller.name[:100], action[:200], scope["method"], path, short_fields(body)
        )  # fmt: skip
        try:
            await context.database.write(store.add, record)
        except Exception:
            # The change is made: an error would have its caller repeat it.
            log.exception("trail_not_written", key_id=caller.key_id, method=record.method, path=path)


def short_fields(body: bytes) -> Mapping[str, Any]:
    """Return the short fields of a JSON object, without secrets; none of anything else."""
    try:
        document = json.loads(body) if len(body) <= _LARGEST_BODY else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        return {}
    return {
        name: value
        for name, value in list(document.items())[:_MOST_FIELDS]
        if isinstance(value, (str, int, float, bool))
        and value != ""
        and len(str(value)) <= _LONGEST_VALUE
        and len(name) <= _LONGEST_VALUE
        and _SECRET.search(name) is None
    }
