"""The log of a job: lines that its runs wrote, within a limit."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

LINE_BYTES: Final = 32
"""What a line counts towards the limit in addition to its text, so that empty lines cannot flood a log."""

_CONTROLS: Final = {code: None for code in (*range(32), *range(127, 160)) if chr(code) != "\t"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line: when it was written, in seconds since the epoch, by which program or stream, and its text."""

    time: float
    source: str
    text: str

    @property
    def size(self) -> int:
        """What the line counts towards the limit, in bytes."""
        return LINE_BYTES + len(self.text.encode())

    def cleaned(self, earliest: float, latest: float) -> Line:
        """Return the line without control characters, which could act on a terminal, and within these times."""
        # The clock of a run's machine may be wrong, and lines outside of the run would be sorted wrongly.
        moment = min(max(self.time, earliest), latest)
        return Line(moment, self.source.translate(_CONTROLS), self.text.translate(_CONTROLS))


class LogBuffer:
    """The lines of one run, at most `limit` bytes: of a longer log, the first and the last lines, half each.

    `truncated` says whether lines are missing.
    """

    def __init__(self, limit: int) -> None:
        self._half = limit // 2
        self._head: list[Line] = []
        self._head_size = 0
        self._tail: deque[Line] = deque()
        self._tail_size = 0
        self.truncated = False

    def __bool__(self) -> bool:
        return bool(self._head or self._tail) or self.truncated

    def add(self, line: Line) -> None:
        """Add a line."""
        # Once a line did not fit, none goes to the beginning any more, even a shorter one: the order would be lost.
        if not self._tail and self._head_size + line.size <= self._half:
            self._head.append(line)
            self._head_size += line.size
            return
        # The end of a log is where errors are, so it is the middle that gives way.
        self._tail.append(line)
        self._tail_size += line.size
        while self._tail_size > self._half:
            self._tail_size -= self._tail.popleft().size
            self.truncated = True

    def lines(self) -> list[Line]:
        """Return the lines in order."""
        return [*self._head, *self._tail]


def bounded(lines: Iterable[Line], limit: int) -> tuple[list[Line], bool]:
    """Return the first and the last of these lines within a limit in bytes, and whether others are missing."""
    buffer = LogBuffer(limit)
    for line in lines:
        buffer.add(line)
    return buffer.lines(), buffer.truncated
