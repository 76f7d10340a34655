"""The agent's log in a file, for `aitbc-agent logs` and `aitbc-agent support-bundle`.

The log goes to standard error, which only a service manager stores. Where systemd's journal has it, the file stores problems only; for an agent on a terminal or in a
container it stores all.
"""

from __future__ import annotations

import json
import os
import sys
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
from agent.settings import LogSettings

DIRECTORY: Final = "logs"
"""Below the data directory."""
NAME: Final = "agent.log"
STARTING: Final = "starting"
"""The event of an entry that says which version starts, and in `journal` the unit whose journal has all lines; `user`: of the user's systemd."""
_PROBLEMS: Final = frozenset({"warning", "error", "critical", "exception"})


class _Unfailing(RotatingFileHandler):
    """A file that drops what it cannot write: neither a full disk nor a foreign owner may stop the agent."""

    def handleError(self, record: LogRecord) -> None:  # noqa: N802 - the library's name
        """Do nothing."""


class LogFile:
    """The file of one agent. Nothing is written before the first entry, or the start."""

    def __init__(self, data_dir: Path, settings: LogSettings | None = None) -> None:
        chosen = settings or LogSettings()
        path = data_dir / DIRECTORY / NAME
        with suppress(OSError):
            # By itself, since the mode does not apply to the directories above.
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.parent.mkdir(mode=0o700, exist_ok=True)
        self._unit = journal_unit()
        self._everything = chosen.file == "all" or (chosen.file == "auto" and self._unit is None)
        self._handler = _Unfailing(
            path, maxBytes=int(chosen.max_file), backupCount=chosen.old_files, encoding="utf-8", delay=True
        )

    def __call__(
        self, _logger: Any, method: str, entry: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Store an entry of the log. A structlog processor, after those that describe exceptions."""
        if self._everything or method in _PROBLEMS:
            self._write(method, **entry)
        return entry

    @contextmanager
    def recorded(self, command: str, coordinator: str | None) -> Iterator[None]:
        """Store that an agent starts, how it ends, and the error that ends it."""
        journal = None if self._everything else self._unit
        self._write(
            "info", event=STARTING, version=__version__, command=command, coordinator=coordinator, journal=journal,
            user="/user@" in _control_group(),
        )  # fmt: skip
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


def journal_unit() -> str | None:
    """Return the unit of systemd whose journal gets what this process writes to standard error; None if it goes elsewhere."""
    try:
        error = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return None
    # systemd.exec(5): the device and the inode of the journal's socket.
    if os.environ.get("JOURNAL_STREAM") != f"{error.st_dev}:{error.st_ino}":
        return None
    unit = _control_group().rpartition("/")[2]
    return unit if unit.endswith(".service") else None


def _control_group() -> str:
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            if line.startswith("0::"):
                return line.removeprefix("0::")
    return ""
