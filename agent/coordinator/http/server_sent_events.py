"""Answers of server-sent events, in FastAPI's format.

FastAPI's generator routes are not used: they answer 200 before the generator can raise an error, and cannot answer JSON from the
same path, as OpenAI's API requires.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from fastapi.sse import EventSourceResponse, format_sse_event

KEEP_ALIVE: Final = format_sse_event(comment="still here")


class EventStream(EventSourceResponse):
    """A stream of events, which no cache keeps and no proxy holds back."""

    def __init__(self, events: AsyncIterator[bytes], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(
            events, headers={**(headers or {}), "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        )


def event(data: Mapping[str, Any], name: str | None = None, number: int | None = None) -> bytes:
    """Return an event with JSON in one line; `number` is its id."""
    # Escaped to ASCII, since a miner may send text that UTF-8 cannot encode.
    text = json.dumps(data, separators=(",", ":"), default=str)
    return format_sse_event(data_str=text, event=name, id=None if number is None else str(number))
