"""Log lines as sentences, for the panel of `aitbc-agent start` and for `aitbc-agent logs`."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any, Final

import structlog

from agent.cli.terminal.sentences import is_of_the_coordinator, sentence
from aitbc.cli._controls import harmless

COLOURS: Final = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m"}
RESET: Final = "\x1b[0m"
_UNINTERESTING: Final[tuple[Any, ...]] = (None, "", [], {})
_FOR_PROGRAMS: Final = frozenset({"timestamp", "level", "event", "exception", "trace_id", "pid", "fence"})
"""Fields that are shown elsewhere in a line, and those by which programs connect entries. The log as JSON has them."""


def readable(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> str:
    """Return a log entry as a line of the panel: the time and a sentence. A structlog processor.

    Raises `structlog.DropEvent` for an entry that is of no interest to the miner's owner.
    """
    text = None if is_of_the_coordinator(entry) else meaning(entry)
    if text is None:
        raise structlog.DropEvent
    level, trace = str(entry.get("level", "info")), entry.get("exception")
    line = harmless(f"{entry.get('timestamp', '')}  {text}")
    if level in COLOURS:
        line = f"{COLOURS[level]}{line}{RESET}"
    return line if trace is None else f"{line}\n{trace}"


def meaning(entry: Mapping[str, Any]) -> str | None:
    """Return an entry of the log as a sentence, None if it is only for developers.

    An event without a sentence, "job_moved" with `job_id` and `seconds`, becomes "Job moved (job_..., seconds: 4.2)."
    """
    try:
        return sentence(entry)
    except (LookupError, TypeError, ValueError, AttributeError):
        event = str(entry.get("event", "")).replace("_", " ")
    fields = ", ".join(
        _field(name, value)
        for name, value in entry.items()
        if name not in _FOR_PROGRAMS and value not in _UNINTERESTING
    )
    return f"{event[:1].upper()}{event[1:]}{f' ({fields})' if fields else ''}"


def _field(name: str, value: Any) -> str:
    """Return a field: an id names its kind itself."""
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    kind = name.removesuffix("_id")
    return text if text.startswith(f"{kind}_") else f"{name.replace('_', ' ')}: {text}"
