"""Which jobs wait for a device and why, and the latest placements, for the owner."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import structlog

from agent.metrics import Meter
from agent.miner.executor.loaded_model import card_keys
from agent.miner.metrics import PLACEMENTS
from runners.api import Device

MAX_RECENT: Final = 50

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class WaitingRun:
    """A job that waits for a device. `since` is in monotonic seconds."""

    service: str
    model: str | None
    since: float
    reason: str = "Newly queued."


class PlacementLog:
    """Counts placement events in `meter`, and holds the newest."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._waiting: list[WaitingRun] = []
        self._recent: deque[dict[str, Any]] = deque(maxlen=MAX_RECENT)

    @contextmanager
    def waiting(self, service: str, model: str | None) -> Iterator[WaitingRun]:
        """List a job as waiting until the end of the block."""
        waiting = WaitingRun(service, model, time.monotonic())
        self._waiting.append(waiting)
        try:
            yield waiting
        finally:
            self._waiting.remove(waiting)

    def waits(self, waiting: WaitingRun, reason: str) -> None:
        """Record why a job waits, if the reason is a new one."""
        if reason != waiting.reason:
            self.record("waits", waiting.service, waiting.model, reason)
        waiting.reason = reason

    def record(
        self, event: str, service: str, model: str | None, reason: str, device: Device | None = None
    ) -> None:
        """Record an event ("placed", "evicted", "not loaded") on a device."""
        cards = ",".join(card_keys(device)) if device is not None else None
        entry = {"event": event, "service": service, "model": model, "device": cards, "reason": reason}
        _log.info("placement", what=event, service=service, model=model, device=cards, reason=reason)
        self._meter.count(PLACEMENTS, service, event.replace(" ", "_"))
        self._recent.append({"at": time.time(), **entry})

    def to_status(self) -> dict[str, Any]:
        """Return the jobs that wait, and recent events, for the daemon's status."""
        now = time.monotonic()
        return {
            "waiting": [
                {
                    "service": job.service,
                    "model": job.model,
                    "reason": job.reason,
                    "seconds": round(now - job.since, 1),
                }
                for job in self._waiting
            ],
            "recent": list(self._recent),
        }
