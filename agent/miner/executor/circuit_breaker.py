"""Circuit breakers: a miner or model that fails repeatedly gets no jobs for a while.

Times are monotonic, in seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

MAX_FAULTS: Final = 3
WINDOW_SECONDS: Final = 600.0
FIRST_PAUSE_SECONDS: Final = 60.0
LONGEST_PAUSE_SECONDS: Final = 1800.0

MAX_LOAD_FAILURES: Final = 3
MAX_HANGS: Final = 2
FIRST_COOLDOWN_SECONDS: Final = 600.0
LONGEST_COOLDOWN_SECONDS: Final = 7200.0


class FaultGuard:
    """Counts machine faults. `MAX_FAULTS` within `WINDOW_SECONDS` pause the miner, each time twice as long.

    A completed job resets the length.
    """

    def __init__(self) -> None:
        self._faults: deque[float] = deque(maxlen=MAX_FAULTS)
        self._pause = FIRST_PAUSE_SECONDS
        self._until = float("-inf")

    def fault(self, now: float) -> bool:
        """Count a machine fault. Return whether a pause begins."""
        self._faults.append(now)
        if len(self._faults) < MAX_FAULTS or now - self._faults[0] > WINDOW_SECONDS:
            return False
        self._faults.clear()
        self._until = now + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        return True

    def success(self) -> None:
        """Count a completed job."""
        self._pause = FIRST_PAUSE_SECONDS

    def seconds_left(self, now: float) -> float:
        """Return how long the pause still lasts; 0 without one."""
        return max(0.0, self._until - now)


@dataclass(slots=True)
class _Record:
    """Failures of one model since its last success."""

    load_failures: int = 0
    hangs: int = 0
    cooldown: float = FIRST_COOLDOWN_SECONDS
    until: float = field(default=float("-inf"))
    reason: str = ""


class ModelGuard:
    """Counts failures of single models, by service and name.

    The circuit of a model opens after `MAX_LOAD_FAILURES` failures to load or `MAX_HANGS` hangs, each time for twice as
    long. A completed run resets all of it.
    """

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], _Record] = {}

    def load_failed(self, service: str, model: str, now: float, reason: str) -> bool:
        """Count a failure to load. Return whether the circuit opens."""
        record = self._records.setdefault((service, model), _Record())
        record.load_failures += 1
        if record.load_failures < MAX_LOAD_FAILURES:
            return False
        self._open(record, now, f"It failed to load {record.load_failures} times. Last error: {reason}")
        return True

    def hung(self, service: str, model: str, now: float) -> bool:
        """Count a run that hung. Return whether the circuit opens."""
        record = self._records.setdefault((service, model), _Record())
        record.hangs += 1
        if record.hangs < MAX_HANGS:
            return False
        self._open(record, now, f"It hung {record.hangs} times.")
        return True

    def success(self, service: str, model: str) -> None:
        """Reset a model that completed a run."""
        self._records.pop((service, model), None)

    def cooling_down(self, now: float) -> Iterator[tuple[str, str, str]]:
        """Yield service, model and reason of each open circuit."""
        for (service, model), record in self._records.items():
            if (left := record.until - now) > 0:
                yield service, model, f"{record.reason} It is not used for another {left / 60:.0f} minutes."

    def _open(self, record: _Record, now: float, reason: str) -> None:
        record.load_failures = record.hangs = 0
        record.until, record.reason = now + record.cooldown, reason
        record.cooldown = min(2 * record.cooldown, LONGEST_COOLDOWN_SECONDS)
