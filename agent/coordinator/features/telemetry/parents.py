"""The clients' spans in which requests came, from the header of a request to the transaction that stores its job."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

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
