"""The current supply of a service: the miners that offer it, and their models, prices and speeds."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from agent.coordinator.dispatch import fleet as fleets
from agent.coordinator.operations.caches import Fleet, Supply
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import miners as store
from agent.core.values.quantities import parse_money

CACHE_SECONDS: Final = 5.0
NOW_SECONDS: Final = 1.0
"""Age of what is read again before a job is refused: a client that submits such jobs must not have all miners read each time."""


async def supply(context: Context, service: str) -> Supply:
    """Return the supply of a service, which is at most a few seconds old."""
    return (await fleet(context)).supplies.get(service, Supply())


async def fleet(context: Context, *, now: bool = False) -> Fleet:
    """Return the known miners, as they were a few seconds ago at most, or as they were `now`, which is a second ago at most."""
    caches = context.caches
    seconds = NOW_SECONDS if now else CACHE_SECONDS
    if (known := _cached(context, seconds)) is not None:
        return known
    async with caches.supply_lock:
        if (known := _cached(context, seconds)) is not None:
            return known
        while True:
            changes = caches.supply_changes
            known = await context.database.read(_fleet, context, context.clock())
            if changes == caches.supply_changes:
                caches.supply = known
            if now or changes == caches.supply_changes:
                return known


def _cached(context: Context, seconds: float) -> Fleet | None:
    known = context.caches.supply
    return None if known is None or context.clock() - known.read_at >= seconds else known


def offline_before(context: Context) -> float:
    """Return the time before which a miner's last heartbeat makes it offline."""
    return fleets.offline_before(context.settings, context.clock())


def _fleet(connection: Connection, context: Context, now: float) -> Fleet:
    miners = tuple(fleets.known_miners(connection, context.settings, now))
    return Fleet(now, miners, _supply(connection, fleets.offline_before(context.settings, now)))


def _supply(connection: Connection, offline_before: float) -> dict[str, Supply]:
    models: defaultdict[str, set[str]] = defaultdict(set)
    offers: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for miner in store.all_miners(connection):
        online = miner.paused is None and miner.seen_at >= offline_before
        for service, offer in json.loads(miner.capabilities)["services"].items():
            models[service] |= set(offer["models"])
            if online:
                offers[service].append(offer)
    return {service: _of(frozenset(known), offers[service]) for service, known in models.items()}


def _of(models: frozenset[str], offers: Sequence[dict[str, Any]]) -> Supply:
    speeds: defaultdict[str, list[float]] = defaultdict(list)
    for offer in offers:
        if (score := offer.get("score")) is not None:
            speeds[score["metric"]].append(score["value"])
    return Supply(
        models=models,
        online=len(offers),
        ready=frozenset(
            model
            for offer in offers
            for model in set(offer["models"]) - set(offer.get("unavailable_models", ()))
        ),
        downloads=any(offer["downloadable"] for offer in offers),
        prices=tuple(sorted(parse_money(offer["unit_price"]) for offer in offers)),
        speeds={metric: tuple(sorted(values)) for metric, values in speeds.items()},
    )
