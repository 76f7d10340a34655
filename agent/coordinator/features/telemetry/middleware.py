"""Middleware that notes the clients' spans in which requests came, until the transaction that stores the job."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from agent.coordinator.operations.context import Context

_MOST: Final = 10_000
_PARTS: Final = 4


@dataclass(frozen=True, slots=True)
class ParentSpan:
    """A client's span, and when its request came."""

    span_id: int
    requested_at: float


_parents: OrderedDict[str, ParentSpan] = OrderedDict()


def note(traceparent: str, now: float) -> None:
    """Note the span of a valid header. Of several requests of a trace at once, the last one counts."""
    parts = traceparent.split("-")
    if len(parts) < _PARTS:
        return
    try:
        _parents[parts[1]] = ParentSpan(int(parts[2], 16), now)
    except ValueError:
        return
    while len(_parents) > _MOST:
        _parents.popitem(last=False)


def of_trace(trace_id: str | None) -> ParentSpan | None:
    """Return the span of the trace's latest request."""
    return None if trace_id is None else _parents.get(trace_id)


class ParentSpans:
    """ASGI middleware that notes the span of each request that may submit a job."""

    def __init__(self, app: ASGIApp, _: Context) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and scope["method"] == "POST":
            for name, value in scope["headers"]:
                if name == b"traceparent":
                    note(value.decode("latin-1"), time.time())
        await self._app(scope, receive, send)
