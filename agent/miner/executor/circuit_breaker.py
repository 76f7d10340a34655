"""Self-protection: what fails again and again rests for a while, instead of spoiling more jobs.

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
FIRST_REST_SECONDS: Final = 600.0
LONGEST_REST_SECONDS: Final = 7200.0


class FaultGuard:
    """Counts machine faults. `MAX_FAULTS` within `WINDOW_SECONDS` pause the miner, each time twice as long.

    A finished job ends the doubling.
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


@dataclass(slots=True)
class _Record:
    """What happened with one model since it last worked."""

    load_failures: int = 0
    hangs: int = 0
    rest: float = FIRST_REST_SECONDS
    until: float = field(default=float("-inf"))
    reason: str = ""


class ModelGuard:
    """Counts what goes wrong with single models, by service and name.

    One that fails to load `MAX_LOAD_FAILURES` times or hangs `MAX_HANGS` times rests, each time twice as long. A finished
    run makes up for all of it.
    """

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], _Record] = {}

    def load_failed(self, service: str, model: str, now: float, reason: str) -> bool:
        """The model could not be loaded. Returns whether that begins a rest."""
        record = self._records.setdefault((service, model), _Record())
        record.load_failures += 1
        if record.load_failures < MAX_LOAD_FAILURES:
            return False
        self._rest(record, now, f"It failed to load {record.load_failures} times, last because: {reason}")
        return True

    def hung(self, service: str, model: str, now: float) -> bool:
        """A run with the model hung. Returns whether that begins a rest."""
        record = self._records.setdefault((service, model), _Record())
        record.hangs += 1
        if record.hangs < MAX_HANGS:
            return False
        self._rest(record, now, f"It hung {record.hangs} times.")
        return True

    def success(self, service: str, model: str) -> None:
        """A run with the model was finished."""
        self._records.pop((service, model), None)

    def resting(self, now: float) -> Iterator[tuple[str, str, str]]:
        """Service, model and reason of each one that rests."""
        for (service, model), record in self._records.items():
            if (left := record.until - now) > 0:
                yield service, model, f"{record.reason} It rests for {left / 60:.0f} more minutes."

    def _rest(self, record: _Record, now: float, reason: str) -> None:
        record.load_failures = record.hangs = 0
        record.until, record.reason = now + record.rest, reason
        record.rest = min(2 * record.rest, LONGEST_REST_SECONDS)
