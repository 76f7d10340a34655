"""Self-protection: a machine that fails again and again stops taking work for a while, instead of spoiling more jobs."""

from __future__ import annotations

from collections import deque
from typing import Final

MAX_FAULTS: Final = 3
WINDOW_SECONDS: Final = 600.0
FIRST_PAUSE_SECONDS: Final = 60.0
LONGEST_PAUSE_SECONDS: Final = 1800.0


class FaultGuard:
    """Counts machine faults. `MAX_FAULTS` within `WINDOW_SECONDS` pause the miner, each time twice as long.

    `now` is monotonic, in seconds. A finished job ends the doubling.
    """

    def __init__(self) -> None:
        self._faults: deque[float] = deque(maxlen=MAX_FAULTS)
        self._pause = FIRST_PAUSE_SECONDS
        self._until = float("-inf")

    def fault(self, now: float) -> bool:
        """The machine failed a job. Returns whether that begins a pause."""
        self._faults.append(now)
        if len(self._faults) < MAX_FAULTS or now - self._faults[0] > WINDOW_SECONDS:
            return False
        self._faults.clear()
        self._until = now + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        return True

    def success(self) -> None:
        """A job was finished."""
        self._pause = FIRST_PAUSE_SECONDS

    def seconds_left(self, now: float) -> float:
        """How long the pause still lasts; 0 if there is none."""
        return max(0.0, self._until - now)
