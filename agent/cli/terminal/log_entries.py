"""Reads the agent's log back: from its file, or from systemd's journal."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Protocol, TextIO

from agent.cli.systemd.systemctl import Systemd
from agent.cli.terminal.log_file import DIRECTORY, NAME, STARTING

POLL_SECONDS: Final = 0.5

Entry = Mapping[str, Any]


class AgentLog(Protocol):
    """What holds the log. Call `stored` to its end before `following`."""

    def stored(self) -> Iterator[Entry]:
        """Yield the entries that are there, oldest first."""

    def following(self) -> Iterator[Entry]:
        """Yield each further entry when it is written, without end."""


def parsed(line: str) -> Entry:
    """Return the entry of a line. One that another program or Python itself wrote has only an event."""
    try:
        entry = json.loads(line)
    except ValueError:
        entry = None
    return entry if isinstance(entry, dict) else {"event": line}


class FileSource:
    """The files below a data directory. A file that is rotated while it is read is read to its end."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / DIRECTORY / NAME
        self._file: TextIO | None = None
        self._partial = ""

    def latest_start(self) -> Entry | None:
        """Return the entry of the latest start, None if there is none."""
        starts = (entry for entry in self._of_files() if entry["event"] == STARTING)
        return max(starts, key=lambda entry: str(entry["timestamp"]), default=None)

    def stored(self) -> Iterator[Entry]:
        """Yield the entries that are there, oldest first."""
        yield from self._of_files(keep=True)

    def following(self) -> Iterator[Entry]:
        """Yield each further entry when it is written, without end."""
        while True:
            yield from self._rest()
            if self._is_rotated():
                yield from self._rest()
                self._open()
            else:
                time.sleep(POLL_SECONDS)

    def _of_files(self, *, keep: bool = False) -> Iterator[Entry]:
        for path in sorted(self._path.parent.glob(f"{NAME}.*"), key=_rotation, reverse=True):
            with path.open(encoding="utf-8", errors="replace") as file:
                yield from map(parsed, file.read().splitlines())
        self._open()
        yield from self._rest()
        if not keep and self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._partial = None, ""
        if self._path.exists():
            self._file = self._path.open(encoding="utf-8", errors="replace")

    def _rest(self) -> Iterator[Entry]:
        if self._file is None:
            return
        for line in self._file:
            self._partial += line
            # The rest of a line that is just being written comes with the next look.
            if line.endswith("\n"):
                yield parsed(self._partial.rstrip("\n"))
                self._partial = ""

    def _is_rotated(self) -> bool:
        try:
            current = self._path.stat().st_ino
        except OSError:
            return False
        return self._file is None or os.fstat(self._file.fileno()).st_ino != current


class JournalSource:
    """The journal of a unit. `since` is in seconds since the epoch."""

    def __init__(self, manager: Systemd, unit: str, since: float | None) -> None:
        self._manager = manager
        self._unit = unit
        self._since = () if since is None else (f"--since=@{since:.0f}",)
        self._cursor: str | None = None

    def stored(self) -> Iterator[Entry]:
        """Yield the entries that are there, oldest first. Raises `SystemdUnavailable`."""
        yield from self._read(*self._since)

    def following(self) -> Iterator[Entry]:
        """Yield each further entry when it is written, without end. Raises `SystemdUnavailable`."""
        after = ("--lines=0",) if self._cursor is None else (f"--after-cursor={self._cursor}",)
        yield from self._read("--follow", *after)

    def _read(self, *options: str) -> Iterator[Entry]:
        with closing(self._manager.journal_lines(self._unit, *options)) as lines:
            for line in lines:
                record = json.loads(line)
                self._cursor = record.get("__CURSOR", self._cursor)
                # An array of bytes for a message with control characters, null for one that is too long.
                message = record.get("MESSAGE")
                if isinstance(message, list):
                    message = bytes(message).decode("utf-8", "replace")
                if message:
                    moment = int(record["__REALTIME_TIMESTAMP"]) / 1e6
                    yield {"written_at": moment, **parsed(message)}


def _rotation(path: Path) -> int:
    """Return the number behind the name of a rotated file: the higher, the older."""
    number = path.suffix.removeprefix(".")
    return int(number) if number.isdigit() else 0
