"""How long a replica waits for the database's server: longer while the server, or this process, is slow."""

from __future__ import annotations

from collections import deque
from typing import Final

SHORTEST: Final = 1.5
LONGEST: Final = 12.0
MARGIN: Final = 2.0
"""The limit is at least this many times the longest recent delay."""
RECENT_SECONDS: Final = 60.0


class ReplyPatience:
    """Notes delays, and derives the time limit of an answer from them. A delay that exceeded its limit is noted too, so the limit doubles."""

    def __init__(self) -> None:
        self._delays: deque[tuple[float, float]] = deque()

    def note(self, seconds: float, now: float) -> None:
        """Note how late an answer was, from the event loop's own lateness or the server's."""
        # Shorter delays before a longer one will never be the longest.
        while self._delays and self._delays[-1][1] <= seconds:
            self._delays.pop()
        self._delays.append((now, seconds))

    def limit(self, now: float) -> float:
        """Return the limit in seconds: `SHORTEST`, doubled as often as the delays of the last minute require, up to `LONGEST`."""
        while self._delays and self._delays[0][0] < now - RECENT_SECONDS:
            self._delays.popleft()
        needed = MARGIN * self._delays[0][1] if self._delays else 0.0
        limit = SHORTEST
        # In steps, so that the limit does not change, and is not announced again, with every small delay.
        while limit < needed and limit < LONGEST:
            limit *= 2
        return limit
