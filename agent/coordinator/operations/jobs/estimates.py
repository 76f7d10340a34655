"""Estimates of when a job ends: the queued work ahead of it, plus the typical duration of such jobs."""

from __future__ import annotations

from typing import Final

from agent.coordinator.operations.caches import Estimates
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import receipts

REFRESH_SECONDS: Final = 1.0


async def estimates(context: Context) -> Estimates:
    """Return estimates that are at most a second old."""
    if (latest := _cached(context)) is not None:
        return latest
    async with context.caches.estimates_lock:
        # Again, since another request may have read them while this one waited for the lock.
        if (latest := _cached(context)) is None:
            latest = await context.database.read(_read, context.clock())
            context.caches.estimates = latest
        return latest


def _cached(context: Context) -> Estimates | None:
    cached = context.caches.estimates
    return None if cached is None or context.clock() - cached.read_at >= REFRESH_SECONDS else cached


def _read(connection: Connection, now: float) -> Estimates:
    typical = receipts.typical_durations(connection)
    ahead: dict[str, float] = {}
    for (service, model), count in receipts.queue_lengths(connection).items():
        # Jobs without a measured duration add nothing: at five minutes each, a short queue would seem to take a day.
        ahead[service] = ahead.get(service, 0.0) + count * typical.get((service, model), 0.0)
    return Estimates(now, typical, ahead)
