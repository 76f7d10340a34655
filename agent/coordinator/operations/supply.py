"""The current supply of a service: the miners that offer it, and their models, prices and speeds."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from agent.coordinator.dispatch import fleet as fleets
from agent.coordinator.operations.caches import Fleet, Supply
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import miners
from agent.core.values.quantities import parse_money

CACHE_SECONDS: Final = 5.0
NOW_SECONDS: Final = 1.0
"""Time between two reads before jobs are refused: a client that submits such jobs must not have all miners read for each of them."""


async def supply(context: Context, service: str) -> Supply:
    """Return the supply of a service, which is at most a few seconds old."""
    return (await fleet(context)).supplies.get(service, Supply())


async def fleet(context: Context, *, now: bool = False) -> Fleet:
    """Return the known miners, as they were a few seconds ago at most, or as they are `now`, for which it waits up to a second."""
    caches, earlier, asked_at = context.caches, context.caches.supply, context.clock()
    if not now and (cached := _cached(context)) is not None:
        return cached
    # At most one read a second, which all requests of this second share.
    if now and earlier is not None:
        await asyncio.sleep(min(max(0.0, earlier.read_at + NOW_SECONDS - asked_at), NOW_SECONDS))
    async with caches.supply_lock:
        if not now and (cached := _cached(context)) is not None:
            return cached
        latest = caches.supply
        if now and latest is not None and latest is not earlier and latest.read_at >= asked_at:
            return latest
        while True:
            changes = caches.supply_changes
            current = await context.database.read(_fleet, context, context.clock())
            # Otherwise a miner changed during the read, and the result may be older than that change.
            if changes == caches.supply_changes:
                caches.supply = current
            if now or changes == caches.supply_changes:
                return current


def known_fleet(connection: Connection, context: Context) -> Fleet:
    """Do the same as `fleet`, inside a transaction."""
    if (cached := _cached(context)) is not None:
        return cached
    changes = context.caches.supply_changes
    latest = _fleet(connection, context, context.clock())
    if changes == context.caches.supply_changes:
        context.caches.supply = latest
    return latest


def _cached(context: Context) -> Fleet | None:
    cached = context.caches.supply
    return None if cached is None or context.clock() - cached.read_at >= CACHE_SECONDS else cached


def offline_before(context: Context) -> float:
    """Return the time before which a miner's last heartbeat makes it offline."""
    return fleets.offline_before(context.settings, context.clock())


def _fleet(connection: Connection, context: Context, now: float) -> Fleet:
    registered = tuple(fleets.known_miners(connection, context.settings, now))
    return Fleet(now, registered, _supply(connection, fleets.offline_before(context.settings, now)))


def _supply(connection: Connection, offline_before: float) -> dict[str, Supply]:
    models: defaultdict[str, set[str]] = defaultdict(set)
    offers: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for miner in miners.all_miners(connection):
        online = miner.paused is None and miner.seen_at >= offline_before
        for service, offer in json.loads(miner.capabilities)["services"].items():
            models[service] |= set(offer["models"])
            if online:
                offers[service].append(offer)
    return {service: _of(frozenset(model_names), offers[service]) for service, model_names in models.items()}


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
