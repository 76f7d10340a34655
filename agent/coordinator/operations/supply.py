"""What there is for a service at present: which miners offer it, with which models, at what price, how fast."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from statistics import median, median_low
from typing import Any, Final

from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import miners as store
from agent.core.values.quantities import parse_money

CACHE_SECONDS: Final = 5.0
MISSED_HEARTBEATS: Final = 3
"""A miner that missed so many heartbeats counts as offline."""


@dataclass(frozen=True, slots=True)
class Supply:
    """What registered miners have for a service. All but `models` is only of miners that are online and do not pause.

    `ready` are the models on their disks that they take jobs for; with `downloads` at least one of them fetches others.
    `prices` are per metered unit, lowest first; `speeds` their benchmark scores by metric, slowest first.
    """

    models: frozenset[str] = frozenset()
    online: int = 0
    ready: frozenset[str] = frozenset()
    downloads: bool = False
    prices: tuple[Decimal, ...] = ()
    speeds: dict[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def lowest_price(self) -> Decimal | None:
        """The lowest price of a unit, or None where nobody offers it."""
        return self.prices[0] if self.prices else None

    @property
    def typical_price(self) -> Decimal | None:
        """The median price of a unit, one that is really asked."""
        return median_low(self.prices) if self.prices else None

    @property
    def speed(self) -> tuple[str, float, float] | None:
        """The metric that most miners have measured, with the best and the median score."""
        if not self.speeds:
            return None
        metric, scores = max(self.speeds.items(), key=lambda item: len(item[1]))
        return metric, scores[-1], median(scores)


async def supply(context: Context, service: str) -> Supply:
    """What there is for a service; at most a few seconds old."""
    cached: tuple[float, dict[str, Supply]] | None = context.caches.get("supply")
    now = context.clock()
    if cached is None or now - cached[0] >= CACHE_SECONDS:
        cached = (now, await context.database.read(_supply, offline_before(context)))
        context.caches["supply"] = cached
    return cached[1].get(service, Supply())


def offline_before(context: Context) -> float:
    """Miners that were last heard of before this moment are offline."""
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
