"""Passes on what a program prints, in whole lines and in few calls, however much it prints."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

INTERVAL: Final = 0.25
"""Seconds between two calls for one stream."""

BURST: Final = 256 * 1024
"""Bytes that a program may print at once before parts are left out."""

RATE: Final = 64 * 1024
"""Bytes per second that a program may print for long."""

LINE_LIMIT: Final = 64 * 1024
"""Bytes after which an unfinished line is passed on."""

OnText = Callable[[str, str], None]
"""Called with the name of a stream, "stdout" or "stderr", and text of one or more lines."""


class Transcript:
    """The output of one program. Of output beyond `BURST` and `RATE`, the oldest part is left out."""

    def __init__(self, on_text: OnText) -> None:
        self._on_text = on_text
        self._waiting: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self._left_out = dict.fromkeys(self._waiting, 0)
        self._budget = float(BURST)
        self._passed_at = time.monotonic()

    def feed(self, stream: str, chunk: bytes) -> None:
        """Add output of a stream."""
        waiting = self._waiting[stream]
        waiting += chunk
        if (excess := len(waiting) - BURST) > 0:
            # The end of an output is what its reader needs.
            del waiting[:excess]
            self._left_out[stream] += excess

    def pass_on(self, *, ended: bool = False) -> None:
        """Pass on the waiting lines if it is time, or if the program has `ended`."""
        now = time.monotonic()
        if not any(self._waiting.values()) or not (ended or now - self._passed_at >= INTERVAL):
            return
        self._budget = min(float(BURST), self._budget + (now - self._passed_at) * RATE)
        self._passed_at = now
        for stream, waiting in self._waiting.items():
            end = len(waiting) if ended or len(waiting) > LINE_LIMIT else waiting.rfind(b"\n") + 1
            if end:
                self._pass_on(stream, bytes(waiting[:end]))
                del waiting[:end]

    def _pass_on(self, stream: str, text: bytes) -> None:
        if (excess := len(text) - int(self._budget)) > 0:
            self._left_out[stream] += excess
            text = text[excess:]
        if left_out := self._left_out[stream]:
            self._left_out[stream] = 0
            # Continue with a whole line: the rest of a cut one would look like another message.
            beginning = text.find(b"\n") + 1
            text = text[beginning:]
            self._on_text(stream, f"[{left_out + beginning:,} bytes are left out here: they came too fast]")
        self._budget -= len(text)
        if text:
            self._on_text(stream, text.decode(errors="replace"))
