"""Estimates of when a job ends: the queued work ahead of it, plus the typical duration of such jobs."""

from __future__ import annotations

from typing import Final

from agent.coordinator.operations.caches import Estimates
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import receipts as store
from agent.coordinator.store.unfinished import Unfinished

REFRESH_SECONDS: Final = 1.0


async def estimates(context: Context) -> Estimates:
    """Return estimates that are at most a second old."""
    if (known := _cached(context)) is not None:
        return known
    async with context.caches.estimates_lock:
        if (known := _cached(context)) is None:
            known = await context.database.read(_read, context.clock(), context.dispatcher.unfinished.known)
            context.caches.estimates = known
        return known


def _cached(context: Context) -> Estimates | None:
    known = context.caches.estimates
    return None if known is None or context.clock() - known.read_at >= REFRESH_SECONDS else known


def _read(connection: Connection, now: float, unfinished: Unfinished | None) -> Estimates:
    typical = store.typical_durations(connection)
    ahead: dict[str, float] = {}
    for (service, model), count in store.queue_lengths(connection, unfinished).items():
        # Jobs without a measured duration add nothing: at five minutes each, a short queue would seem to take a day.
        ahead[service] = ahead.get(service, 0.0) + count * typical.get((service, model), 0.0)
    return Estimates(now, typical, ahead)
