"""The id that follows a job through coordinator, miner and runner.

It has the form of a trace id of W3C Trace Context (https://www.w3.org/TR/trace-context/): 16 bytes in lower-case hex. Without one
from the client it follows from the job's id, so that nothing has to be kept.
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
    """The trace id of a job whose client brought none."""
    return hashlib.sha256(job_id.encode()).hexdigest()[: 2 * _BYTES]


def trace_id_in(traceparent: str) -> str | None:
    """The trace id of a `traceparent` header; None for one that is not valid, which counts as none at all."""
    match = _PARENT.fullmatch(traceparent.strip()) if len(traceparent) <= _MAX_HEADER else None
    if match is None:
        return None
    version, trace_id, parent, more = match.groups()
    if version == "ff" or trace_id == _NOTHING or not parent.strip("0") or (version == "00" and more):
        return None
    return str(trace_id)
