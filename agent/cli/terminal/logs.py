"""Configures logging to standard error, as text for people and as JSON for programs."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, Literal, Protocol, TextIO, cast

import structlog
from structlog.dev import plain_traceback
from structlog.processors import ExceptionRenderer
from structlog.tracebacks import ExceptionDictTransformer

from agent.cli.terminal.log_file import LogFile
from agent.cli.terminal.log_lines import readable
from agent.settings import LogSettings
from aitbc.cli._controls import harmless, unguarded
from aitbc.cli._terminal.output import SafeConsole

# Libraries whose routine messages are not printed.
_QUIET = ("uvicorn", "uvicorn.error", "websockets", "httpx", "httpcore", "alembic")


class _Unfailing:
    """A stream that drops what it cannot write: the agent must not fail because its log has no reader."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write, or drop what cannot be written."""
        with suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        """Flush, or drop what cannot be flushed."""
        with suppress(OSError, ValueError):
            self._stream.flush()


class LogSink(Protocol):
    """A stream that log lines go to instead of standard error."""

    def write(self, text: str, /) -> int:
        """Write whole lines."""

    def flush(self) -> None:
        """Flush the written lines."""


def _without_controls(
    _logger: Any, _method: str, entry: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Replace control characters in texts; other values are shown as Python writes them. A structlog processor."""
    return {name: harmless(value) if isinstance(value, str) else value for name, value in entry.items()}


def configure(settings: LogSettings, pane: LogSink | None = None, log_file: LogFile | None = None) -> None:
    """Configure logging for the process. With a `pane`, lines go there as sentences with the local time; `log_file` stores entries.

    Tracebacks contain no local variables, since these hold keys, prompts and results.
    """
    on_terminal = pane is not None or sys.stderr.isatty()
    as_json = settings.format == "json" or (settings.format == "auto" and not on_terminal)
    stream = cast("TextIO", _Unfailing(cast("TextIO", pane) if pane is not None else unguarded(sys.stderr)))
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True)
        if pane is None or as_json
        else structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
    ]
    renderer: list[Any]
    if as_json:
        renderer = [
            ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(),
        ]
    else:
        lines = structlog.dev.ConsoleRenderer(colors=on_terminal, exception_formatter=plain_traceback)
        renderer = [
            structlog.processors.format_exc_info,
            _without_controls,
            lines if pane is None else readable,
        ]
    if log_file is not None:
        renderer.insert(-1, log_file)
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
            foreign_pre_chain=shared,
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def configure_quietly(settings: LogSettings, level: Literal["warning", "error"] = "error") -> None:
    """Configure logging for a command, among whose own lines only those of problems should stand."""
    configure(settings.model_copy(update={"level": level}))


def step(text: str) -> None:
    """Print what a command does now on standard error, so that standard output has only the result."""
    SafeConsole(stderr=True).print(f"{text} ...")
