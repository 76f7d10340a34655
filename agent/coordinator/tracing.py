"""The trace that the request under way belongs to: what its client said, and what the answer says.

`RequestIds` opens a trace for every request, in which whatever the request leads to looks and writes.
"""

from __future__ import annotations

from contextvars import ContextVar

_from_client: ContextVar[str | None] = ContextVar("trace_of_client", default=None)
_answered: ContextVar[str | None] = ContextVar("trace_answered", default=None)


def begin(trace_id: str | None) -> None:
    """A request begins; `trace_id` is that of its `traceparent`, if it has one."""
    _from_client.set(trace_id)
    _answered.set(trace_id)


def of_request() -> str | None:
    """The client's trace id, if it brought one."""
    return _from_client.get()


def note(trace_id: str) -> None:
    """The request has made a job of this trace: the answer says so."""
    _answered.set(trace_id)


def answered() -> str | None:
    """What the answer says, None if it has nothing to do with a trace."""
    return _answered.get()
