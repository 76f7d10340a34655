"""The agent's warnings and errors in a file, for `aitbc-agent support-bundle`.

The log goes to standard error, which only a service manager stores. Somebody who helps the owner of an agent on a terminal or in a container would see nothing
of what has happened.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from logging import LogRecord
from logging.handlers import RotatingFileHandler
from pathlib import Path
from traceback import format_exc
from typing import Any, Final

from agent import __version__
from agent.core.errors import AgentError
from agent.core.values.quantities import format_time

DIRECTORY: Final = "logs"
"""Below the data directory."""
NAME: Final = "agent.log"
MAX_FILE: Final = 2**20
"""Bytes after which the file becomes `agent.log.1`, replacing the one before."""
_STORED: Final = frozenset({"warning", "error", "critical", "exception"})


class _Unfailing(RotatingFileHandler):
    """A file that drops what it cannot write: neither a full disk nor a foreign owner may stop the agent."""

    def handleError(self, record: LogRecord) -> None:  # noqa: N802 - the library's name
        """Do nothing."""


class ProblemFile:
    """The file of one agent. Nothing is written before the first problem, or the start."""

    def __init__(self, data_dir: Path) -> None:
        path = data_dir / DIRECTORY / NAME
        with suppress(OSError):
            # By itself, since the mode does not apply to the directories above.
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.parent.mkdir(mode=0o700, exist_ok=True)
        self._handler = _Unfailing(path, maxBytes=MAX_FILE, backupCount=1, encoding="utf-8", delay=True)

    def __call__(
        self, _logger: Any, method: str, entry: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Store an entry of the log if it is a problem. A structlog processor, after those that describe exceptions."""
        if method in _STORED:
            self._write(method, **entry)
        return entry

    @contextmanager
    def recorded(self, command: str, coordinator: str | None) -> Iterator[None]:
        """Store that an agent starts, how it ends, and the error that ends it."""
        self._write("info", event="starting", version=__version__, command=command, coordinator=coordinator)
        try:
            yield
        except AgentError as error:
            self._write("critical", event="ended", error=str(error))
            raise
        except BaseException as error:
            self._write("critical", event="ended", error=type(error).__name__, exception=format_exc())
            raise
        self._write("info", event="ended")

    def _write(self, level: str, /, **entry: Any) -> None:
        values = {**entry, "level": level, "timestamp": format_time(time.time())}
        line = json.dumps(values, default=str, ensure_ascii=False)
        self._handler.handle(LogRecord("agent", 0, "", 0, line, None, None))
