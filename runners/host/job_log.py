"""The lines that a run writes to its job's log, on their way to the miner in few messages however fast they come."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from runners.host.protocol import MAX_LINE, JobLog, LogLine

INTERVAL: Final = 0.25
"""Seconds between two messages with lines of one run."""
WAITING_BYTES: Final = 64 * 1024
"""Bytes of lines that may wait for the next message; older lines are dropped, and counted."""
MAX_SOURCE: Final = 32


class LogWriter:
    """Collects the lines of one run. Its methods may be called from any thread."""

    def __init__(self, run_id: str, send: Callable[[JobLog], None]) -> None:
        self._run_id = run_id
        self._send = send
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._waiting: deque[tuple[int, LogLine]] = deque()
        self._size = 0
        self._dropped = 0
        self._sent_at = float("-inf")
        self._timer: threading.Timer | None = None

    def add(self, text: str, source: str) -> None:
        """Add the lines of `text`. Of text that a program overwrote with carriage returns, the last version counts."""
        moment = time.time()
        with self._lock:
            for part in _lines(text):
                line = LogLine(time=moment, source=source[:MAX_SOURCE], text=part)
                size = len(part.encode())
                self._waiting.append((size, line))
                self._size += size
            # The oldest first: the end of a log says why a run failed.
            while self._size > WAITING_BYTES:
                self._size -= self._waiting.popleft()[0]
                self._dropped += 1
            if not self._waiting or self._timer is not None:
                return
            delay = self._sent_at + INTERVAL - time.monotonic()
            if delay > 0:
                self._timer = threading.Timer(delay, self._send_later)
                # A process that ends need not wait for its last lines: `flush` sends them.
                self._timer.daemon = True
                self._timer.start()
                return
        self.flush()

    def flush(self) -> None:
        """Send the lines that wait."""
        with self._sending:  # two messages of one run must arrive in order
            with self._lock:
                lines, dropped = [line for _, line in self._waiting], self._dropped
                self._waiting.clear()
                self._size = self._dropped = 0
                self._sent_at = time.monotonic()
                if self._timer is not None:
                    self._timer.cancel()
                    self._timer = None
            if lines or dropped:
                self._send(JobLog(run_id=self._run_id, lines=lines, dropped=dropped))

    def _send_later(self) -> None:
        with suppress(OSError):  # the parent has ended, and this process ends too
            self.flush()


def _lines(text: str) -> Iterator[str]:
    for line in text.rstrip("\r\n").split("\n"):
        # A lone surrogate, as in names of files that are not UTF-8, cannot be sent.
        text_line = line.rstrip("\r").rpartition("\r")[2].encode("utf-8", "replace").decode()
        for start in range(0, len(text_line) or 1, MAX_LINE):
            yield text_line[start : start + MAX_LINE]
