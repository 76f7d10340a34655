"""Log lines as sentences, for the panel of `aitbc-agent start`."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Final

from aitbc.cli._controls import harmless

_COLOURS: Final = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m"}
_RESET: Final = "\x1b[0m"
_UNINTERESTING: Final[tuple[Any, ...]] = (None, "", [], {})
_FOR_PROGRAMS: Final = frozenset({"trace_id", "pid", "fence"})
"""Fields by which programs connect entries. The log as JSON has them."""


def readable(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> str:
    """Return a log entry as a line for people: the time, the event in words, and its fields. A structlog processor.

    `job_finished` with `job_id` and `seconds` becomes "12:00:01  Job finished: job_..., seconds 4.2".
    """
    fields = dict(entry)
    time, level = fields.pop("timestamp", ""), str(fields.pop("level", "info"))
    event = str(fields.pop("event", "")).replace("_", " ")
    trace = fields.pop("exception", None)
    about = ", ".join(
        _field(name, value)
        for name, value in fields.items()
        if name not in _FOR_PROGRAMS and value not in _UNINTERESTING
    )
    line = harmless(f"{time}  {event[:1].upper()}{event[1:]}{': ' if about else ''}{about}")
    if level in _COLOURS:
        line = f"{_COLOURS[level]}{line}{_RESET}"
    return line if trace is None else f"{line}\n{trace}"


def _field(name: str, value: Any) -> str:
    """Return a field: an id names its kind itself."""
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    kind = name.removesuffix("_id")
    return text if text.startswith(f"{kind}_") else f"{name.replace('_', ' ')} {text}"
