"""When a job will probably be done: the work ahead of it, plus how long such jobs have taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import receipts as store

REFRESH_SECONDS: Final = 1.0
UNMEASURED_SECONDS: Final = 300.0
"""The reference's five minutes, while nothing has been measured."""


@dataclass(frozen=True, slots=True)
class Estimates:
    """Typical seconds by service and model, and the seconds of work that wait, by service."""

    read_at: float
    typical: dict[tuple[str, str], float]
    ahead: dict[str, float]

    def duration(self, service: str, model: str | None) -> float:
        """Typical seconds of one run."""
        return self.typical.get((service, model or ""), UNMEASURED_SECONDS)

    def waiting_job(self, service: str, model: str | None, now: float) -> float:
        """When a job that is submitted now will probably be done."""
        return now + self.ahead.get(service, 0.0) + self.duration(service, model)

    def running_job(self, service: str, model: str | None, started_at: float, now: float) -> float:
        """When a running job will probably be done; never in the past."""
        return max(started_at + self.duration(service, model), now)


NO_ESTIMATES: Final = Estimates(0.0, {}, {})
"""For who does not ask when a job will be done."""


async def estimates(context: Context) -> Estimates:
    """Estimates that are at most a second old."""
    known: Estimates | None = context.caches.get("estimates")
    now = context.clock()
    if known is None or now - known.read_at >= REFRESH_SECONDS:
        known = await context.database.read(_read, now)
        context.caches["estimates"] = known
    return known


def _read(connection: Connection, now: float) -> Estimates:
    typical = store.typical_durations(connection)
    ahead: dict[str, float] = {}
    for (service, model), count in store.queue_lengths(connection).items():
        # What was never measured adds nothing: five minutes each would make a short queue look like a day.
        ahead[service] = ahead.get(service, 0.0) + count * typical.get((service, model), 0.0)
    return Estimates(now, typical, ahead)
