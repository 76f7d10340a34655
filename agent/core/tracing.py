"""The id that follows a job through coordinator, miner and runner.

It is a trace id of W3C Trace Context (https://www.w3.org/TR/trace-context/): 16 bytes in lower-case hex. If the client sends
none, it is derived from the job's id, so that it need not be stored.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

TRACE_ID: Final = "^[0-9a-f]{32}$"
_BYTES: Final = 16
_NOTHING: Final = "0" * 2 * _BYTES
_PARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?", re.ASCII)
_MAX_HEADER: Final = 512


def trace_id_of(job_id: str) -> str:
    """Return the trace id of a job whose client sent none."""
    return hashlib.sha256(job_id.encode()).hexdigest()[: 2 * _BYTES]


def trace_id_in(traceparent: str) -> str | None:
    """Return the trace id of a `traceparent` header, or None for an invalid one, which is ignored."""
    match = _PARENT.fullmatch(traceparent.strip()) if len(traceparent) <= _MAX_HEADER else None
    if match is None:
        return None
    version, trace_id, parent, extension = match.groups()
    if version == "ff" or trace_id == _NOTHING or not parent.strip("0") or (version == "00" and extension):
        return None
    return str(trace_id)
