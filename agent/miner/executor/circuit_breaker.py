"""Circuit breakers: a service or model that fails repeatedly gets no jobs for a while.

Times are monotonic, in seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

MAX_FAULTS: Final = 3
MANY_FAULTS: Final = "Several of its jobs failed through faults of the machine."
WINDOW_SECONDS: Final = 600.0
FIRST_PAUSE_SECONDS: Final = 60.0
LONGEST_PAUSE_SECONDS: Final = 1800.0

MAX_LOAD_FAILURES: Final = 3
MAX_HANGS: Final = 2
FIRST_COOLDOWN_SECONDS: Final = 600.0
LONGEST_COOLDOWN_SECONDS: Final = 7200.0


@dataclass(slots=True)
class _Faults:
    """The recent machine faults of a service: when, and of which job."""

    recent: deque[tuple[float, str]] = field(default_factory=deque)
    pause: float = FIRST_PAUSE_SECONDS
    until: float = field(default=float("-inf"))
    reason: str = ""


class FaultGuard:
    """Counts machine faults by service. `MAX_FAULTS` jobs within `WINDOW_SECONDS` pause the service, each time for twice as long.

    Several runs of one job count once, so that no job pauses a service by itself. A completed job resets the length. A service that
    the machine cannot run at all is withdrawn after one job.
    """

    def __init__(self) -> None:
        self._services: dict[str, _Faults] = {}

    def fault(self, service: str, job_id: str, now: float) -> bool:
        """Count a machine fault. Return whether a pause begins."""
        faults = self._services.setdefault(service, _Faults())
        faults.recent = deque(
            (at, job) for at, job in faults.recent if now - at <= WINDOW_SECONDS and job != job_id
        )
        faults.recent.append((now, job_id))
        # One broken job is the client's bad luck; several different ones in a short time are the machine's.
        if len(faults.recent) < MAX_FAULTS:
            return False
        # The next pause needs as many new faults, or one late failure would begin it again at once.
        faults.recent.clear()
        faults.until, faults.reason = now + faults.pause, MANY_FAULTS
        # A fault that lasts costs less and less, and one that goes away is noticed within the longest pause.
        faults.pause = min(2 * faults.pause, LONGEST_PAUSE_SECONDS)
        return True

    def withdraw(self, service: str, reason: str, now: float) -> None:
        """Pause a service that no job can use, for `LONGEST_PAUSE_SECONDS`. `reason` states the remedy."""
        faults = self._services.setdefault(service, _Faults())
        faults.until, faults.reason = now + LONGEST_PAUSE_SECONDS, reason

    def success(self, service: str) -> None:
        """Count a completed job."""
        if service in self._services:
            self._services[service].pause = FIRST_PAUSE_SECONDS

    def seconds_left(self, service: str, now: float) -> float:
        """Return how long the service's pause still lasts; 0 without one."""
        faults = self._services.get(service)
        return 0.0 if faults is None else max(0.0, faults.until - now)

    def paused(self, now: float) -> dict[str, str]:
        """Return the services that pause, and the reasons."""
        return {service: faults.reason for service, faults in self._services.items() if faults.until > now}


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
        # One success is enough: the file is whole and the memory suffices.
        self._records.pop((service, model), None)

    def cooling_down(self, now: float) -> Iterator[tuple[str, str, str]]:
        """Yield service, model and reason of each open circuit."""
        for (service, model), record in self._records.items():
            if (seconds_left := record.until - now) > 0:
                yield (
                    service,
                    model,
                    f"{record.reason} It is not used for another {seconds_left / 60:.0f} minutes.",
                )

    def _open(self, record: _Record, now: float, reason: str) -> None:
        record.load_failures = record.hangs = 0
        record.until, record.reason = now + record.cooldown, reason
        record.cooldown = min(2 * record.cooldown, LONGEST_COOLDOWN_SECONDS)
