"""The part of a server's output that says why it ended.

Servers write hundreds of lines while they start, and words such as "out of memory" or "available KV cache memory" also stand in those
that report progress or give advice. vLLM writes its cause first, then the tracebacks of every process that waited for the failed one.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Final

MAX_LINES: Final = 100
"""Lines that are stored of the beginning of the failure, and as many of the end of the output."""

_PREFIX: Final = re.compile(
    r"^(?:\([^()]* pid=\d+\) ?)?(?:(?P<level>[A-Z]+) \d\d-\d\d \d\d:\d\d:\d\d \[[^\]]*\] ?)?"
)
"""vLLM's process, and the level, time and line of code of its logger. Every line of a traceback has them too."""
_NOTICE: Final = re.compile(r"^\[?[DIW]\d{4} \d\d:|pinned memory")
"""What torch's C++ parts report below an error, and llama.cpp before it goes on with memory that is not pinned."""
_PROGRESS: Final = frozenset(("DEBUG", "INFO", "WARNING"))
_FAILURE: Final = re.compile(r"error|exception|fail|unable|cannot|could not|abort", re.IGNORECASE)
_TRACEBACK: Final = "Traceback (most recent call last)"


class FailureLog:
    """Collects a server's output line by line. Safe with one writer."""

    def __init__(self) -> None:
        self._first: list[str] = []
        self._last: deque[str] = deque(maxlen=MAX_LINES)
        self._latest = ""

    def add(self, line: str) -> None:
        """Read the next line."""
        self._latest = line.strip() or self._latest
        prefix = _PREFIX.match(line)
        level, words = (prefix["level"], line[prefix.end() :].rstrip()) if prefix else (None, line.rstrip())
        # Frames of a traceback quote source code, which contains the messages of errors that did not happen.
        if not words or words[0].isspace() or words.startswith(_TRACEBACK):
            return
        if level in _PROGRESS or _NOTICE.search(words):
            return
        self._last.append(words)
        if len(self._first) < MAX_LINES and (level is not None or _FAILURE.search(words)):
            self._first.append(words)

    @property
    def text(self) -> str:
        """The lines that may state the cause."""
        return "\n".join((*self._first, *self._last))

    @property
    def summary(self) -> str:
        """The lines of failure in their order, each once; without any, the end of the output."""
        return " ".join(dict.fromkeys(self._first)) or " ".join(self._last) or self._latest
