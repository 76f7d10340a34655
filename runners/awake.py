"""Time in which this process could work: a suspended machine, a frozen container and a stopped process do no work.

Linux's monotonic clock stands still while the machine is suspended, and goes on while only the process is frozen. Neither
of the two must be metered, or count as a silence of a runner.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

STEP_SECONDS = 1.0
FROZEN_SECONDS = 5.0
"""A longer gap between two steps was no work. A busy machine delays a thread by less."""
JUMP_SECONDS = 10.0
"""A smaller difference between two clocks is no jump."""


class AwakeClock:
    """A monotonic clock without the time for which the process was frozen. `read` it at least once each `FROZEN_SECONDS`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last = clock()
        self._frozen = 0.0

    def read(self) -> float:
        """Return seconds, as of a monotonic clock."""
        with self._lock:
            now = self._clock()
            if now - self._last > FROZEN_SECONDS:
                self._frozen += now - self._last
            self._last = now
            return now - self._frozen


class _ProcessClock:
    """The clock of this process, which a thread reads from its first use on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clock: AwakeClock | None = None

    def seconds(self) -> float:
        with self._lock:
            if self._clock is None:
                self._clock = AwakeClock()
                threading.Thread(target=self._step, args=(self._clock,), name="awake", daemon=True).start()
        return self._clock.read()

    def _step(self, clock: AwakeClock) -> None:
        while True:
            time.sleep(STEP_SECONDS)
            clock.read()


awake_seconds = _ProcessClock().seconds
"""Return the seconds in which this process could work, as of a monotonic clock. The time before the first call counts as such."""


def boot_seconds() -> float:
    """Return the seconds since the machine was started, with those in which it was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ClockJumps:
    """Finds out that the time of day went further than this process could work, or back."""

    def __init__(
        self, clock: Callable[[], float] = time.time, awake: Callable[[], float] = awake_seconds
    ) -> None:
        self._clock = clock
        self._awake = awake
        self._ahead = clock() - awake()

    def since_last(self) -> float:
        """Return the seconds of a jump since the last call, 0 without one.

        It is positive after a suspension, while which the process did not work, and if the clock was set forward; negative if the
        clock was set back.
        """
        ahead = self._clock() - self._awake()
        jump, self._ahead = ahead - self._ahead, ahead
        return jump if abs(jump) >= JUMP_SECONDS else 0.0
