"""The current supply of a service: the miners that offer it, and their models, prices and speeds."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from agent.coordinator.operations.caches import Supply
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import miners as store
from agent.core.values.quantities import parse_money

CACHE_SECONDS: Final = 5.0
MISSED_HEARTBEATS: Final = 3
"""A miner that missed this many heartbeats counts as offline."""


async def supply(context: Context, service: str) -> Supply:
    """Return the supply of a service, which is at most a few seconds old."""
    cached = context.caches.supply
    now = context.clock()
    if cached is None or now - cached[0] >= CACHE_SECONDS:
        cached = (now, await context.database.read(_supply, offline_before(context)))
        context.caches.supply = cached
    return cached[1].get(service, Supply())


def offline_before(context: Context) -> float:
    """Return the time before which a miner's last heartbeat makes it offline."""
    return context.clock() - MISSED_HEARTBEATS * context.settings.heartbeat_seconds


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
