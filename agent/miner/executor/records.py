"""Which child processes are ours, on disk, so that a daemon that was killed can end them in its next life.

The kernel ends children together with their parent; this is the second line, for a kernel or a wrapper that did not.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

import orjson
import psutil
import structlog

_TOLERANCE: Final = 0.05
"""Seconds by which two readings of a process's start time may differ."""
_log = structlog.get_logger(__name__)


class ChildRecords:
    """The file with process ids and start times. The start time tells a child from a later process with its id."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._started: dict[int, float] = {}

    def add(self, pid: int) -> None:
        """A child has been started."""
        with suppress(psutil.Error):
            self._started[pid] = psutil.Process(pid).create_time()
            self._write()

    def remove(self, pid: int) -> None:
        """A child has ended."""
        if self._started.pop(pid, None) is not None:
            self._write()

    def end_orphans(self) -> int:
        """Kill the process groups of recorded children that still live. Returns how many there were."""
        ended = 0
        for pid, started in self._read():
            with suppress(psutil.Error, ProcessLookupError, PermissionError):
                process = psutil.Process(pid)
                if abs(process.create_time() - started) <= _TOLERANCE and os.getpgid(pid) == pid:
                    os.killpg(pid, signal.SIGKILL)
                    ended += 1
                    _log.warning("orphan_ended", pid=pid)
        self._write()
        return ended

    def _read(self) -> list[tuple[int, float]]:
        try:
            return [(int(pid), float(started)) for pid, started in orjson.loads(self._path.read_bytes())]
        except (OSError, ValueError, TypeError):
            return []  # missing, or torn by a crash: the kernel has done it then

    def _write(self) -> None:
        temporary = self._path.with_name(f".{self._path.name}")
        try:
            temporary.write_bytes(orjson.dumps(list(self._started.items())))
            temporary.replace(self._path)
        except OSError as error:
            _log.warning("child_records_not_written", error=str(error))
