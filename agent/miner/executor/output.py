"""Saves the output of child processes for the owner in log files of bounded size, and holds its end."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import BinaryIO, Final

import structlog

MAX_FILE: Final = 2**20
"""Bytes after which a log file becomes `NAME.1`, replacing the one before."""
_TAIL: Final = 4096
_STACK: Final = "Fatal Python error: "
"""What begins the stack that Python writes when a program crashes."""
_log = structlog.get_logger(__name__)


class ChildOutput:
    """The log file of one service on one device. Its methods raise nothing: a lost line must not cost a job."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._size = 0
        self._tail: deque[int] = deque(maxlen=_TAIL)

    def write(self, data: bytes) -> None:
        """Append the output of a child."""
        self._tail.extend(data[-_TAIL:])
        try:
            if self._file is None:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._file = self._path.open("ab", buffering=0)
                self._size = self._path.stat().st_size
            if self._size + len(data) > MAX_FILE:
                self._file.close()
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
                self._file = self._path.open("ab", buffering=0)
                self._size = 0
            self._file.write(data)
            self._size += len(data)
        except OSError as error:
            _log.warning("child_output_lost", path=str(self._path), error=str(error))
            self._file = None

    def tail(self, lines: int = 5) -> str:
        """Return the last lines, for a message about a crash. Clients read it, so it has no stack, which names this machine's files."""
        text = bytes(self._tail).decode("utf-8", "replace").partition(_STACK)[0]
        return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
