"""The trace of the current request: the client's trace id, and the one in the answer.

`RequestIds` begins a trace for every request. All code that handles the request can read and set it.
"""

from __future__ import annotations

from contextvars import ContextVar

_from_client: ContextVar[str | None] = ContextVar("trace_of_client", default=None)
_answered: ContextVar[str | None] = ContextVar("trace_answered", default=None)


def begin(trace_id: str | None) -> None:
    """Begin a request. `trace_id` is that of its `traceparent` header, if any."""
    _from_client.set(trace_id)
    _answered.set(trace_id)


def of_request() -> str | None:
    """Return the client's trace id, if any."""
    return _from_client.get()


def note(trace_id: str) -> None:
    """Set the trace id in the answer, that of the job that the request created."""
    _answered.set(trace_id)


def answered() -> str | None:
    """Return the trace id in the answer, if any."""
    return _answered.get()
