"""The current supply for clients: services and models with the lowest price, and the miners that offer them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from agent.coordinator import hooks
from agent.coordinator.hooks import UNKNOWN
from agent.coordinator.operations import supply
from agent.coordinator.operations.answers import sale_units
from agent.coordinator.operations.caches import Estimates
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.jobs.estimates import estimates
from agent.coordinator.operations.jobs.validation import model_names
from agent.coordinator.store.miners import MinerRecord, all_miners
from agent.core.values.quantities import format_money, format_time, parse_money
from aitbc.answers.market import (
    MarketMiner,
    MarketMinerList,
    ModelSupply,
    OfferedService,
    ServiceSupply,
    ServiceSupplyList,
)
from aitbc.answers.miners import SelftestResult, ServiceScore
from aitbc.answers.registry import Speed
from runners.api import ServiceDefinition

_MINERS: Final = "market"
"""The key of the miners among what is cached about the known ones."""


@dataclass(frozen=True, slots=True)
class Cheapest:
    """How many miners offer something, and their lowest price with its unit."""

    miners: int = 0
    price: Decimal | None = None
    unit: str | None = None

    def fields(self) -> dict[str, Any]:
        """Return the fields of an answer."""
        price = None if self.price is None else format_money(self.price)
        return {"available": self.miners > 0, "miners": self.miners, "price": price, "unit": self.unit}


async def services(context: Context) -> ServiceSupplyList:
    """Return every service with its models, as they can be had now."""
    available = [miner for miner in await _miners(context) if miner.available]
    measured = await estimates(context)
    return ServiceSupplyList(
        services=[
            await _service(context, definition, _offers(available, definition.service_id), measured)
            for definition in context.catalogue.services.values()
        ]
    )


async def models(context: Context, service_id: str) -> Mapping[str, Cheapest]:
    """Return the models of a service that miners would run now without a download."""
    available = [miner for miner in await _miners(context) if miner.available]
    offers = _offers(available, service_id)
    # From the offers and not from the catalogue: only what a miner could run now has a price.
    names = {name for offer in offers for name in offer.models}
    return {name: _cheapest(offer for offer in offers if name in offer.models) for name in names}


async def miners(context: Context, *, service_id: str | None, limit: int, offset: int) -> MarketMinerList:
    """Return the miners of the market, optionally only those that offer a service."""
    listed = await _miners(context)
    if service_id is not None:
        name = service_id.replace("-", "_")
        listed = [miner for miner in listed if any(offer.service_id == name for offer in miner.services)]
    # Sorting keeps the order of the rest, so pages do not change while nothing else does.
    listed = sorted(listed, key=lambda miner: not miner.available)
    return MarketMinerList(miners=listed[offset : offset + limit], total=len(listed))


async def _service(
    context: Context, definition: ServiceDefinition, offers: list[OfferedService], measured: Estimates
) -> ServiceSupply:
    offered = await supply.supply(context, definition.service_id)
    names = model_names(context, definition, offered.models) if definition.model_field else ()
    metric = offered.speed
    return ServiceSupply(
        service_id=definition.service_id,
        name=definition.name,
        sale_units=sale_units(definition, "cuda"),
        speed=None if metric is None else Speed(metric=metric[0], best=metric[1], typical=metric[2]),
        typical_seconds=_typical(measured, definition.service_id, ""),
        models=[_model(context, definition, name, offers, measured, offered.downloads) for name in names],
        **_cheapest(offers).fields(),
    )


def _model(
    context: Context,
    definition: ServiceDefinition,
    name: str,
    offers: Iterable[OfferedService],
    measured: Estimates,
    downloads: bool,
) -> ModelSupply:
    entry = context.catalogue.models.get(name)
    return ModelSupply(
        name=name,
        downloadable=downloads and entry is not None and entry.fetchable,
        typical_seconds=_typical(measured, definition.service_id, name),
        **_cheapest(offer for offer in offers if name in offer.models).fields(),
    )


def _typical(measured: Estimates, service_id: str, model: str) -> float | None:
    seconds = measured.typical.get((service_id, model))
    return None if seconds is None else round(seconds, 3)


def _offers(miners: Iterable[MarketMiner], service_id: str) -> list[OfferedService]:
    return [offer for miner in miners for offer in miner.services if offer.service_id == service_id]


def _cheapest(offers: Iterable[OfferedService]) -> Cheapest:
    prices = sorted((parse_money(offer.price), offer.unit) for offer in offers)
    return Cheapest(len(prices), *prices[0]) if prices else Cheapest()


async def _miners(context: Context) -> list[MarketMiner]:
    """Return all miners as clients see them, read at most as long ago as the supply is."""
    answers = (await supply.fleet(context)).answers
    # Cached with the fleet that it belongs to, so that all views of the market are equally old.
    if _MINERS not in answers:
        answers[_MINERS] = await context.database.read(_read, context)
    miners: list[MarketMiner] = answers[_MINERS]
    return miners


def _read(connection: Connection, context: Context) -> list[MarketMiner]:
    records = [record for record in all_miners(connection) if record.excluded_at is None]
    track_records = hooks.track_records(connection, context.clock(), None)
    return [
        _miner(context, record, track_records.get(record.miner_id, UNKNOWN).reputation) for record in records
    ]


def _miner(context: Context, record: MinerRecord, reputation: float) -> MarketMiner:
    capabilities = json.loads(record.capabilities)
    selftest = capabilities.get("selftest")
    device = "cuda" if capabilities["gpus"] else "cpu"
    online = record.seen_at >= supply.offline_before(context)
    return MarketMiner(
        miner_id=record.miner_id,
        name=record.name,
        available=online and record.paused is None,
        online=online,
        seen_at=format_time(record.seen_at),
        reputation=reputation,
        gpus=[gpu["name"] for gpu in capabilities["gpus"]],
        services=[
            _offered(definition, offer, device)
            for service_id, offer in capabilities["services"].items()
            if (definition := context.catalogue.services.get(service_id)) is not None
        ],
        selftest=None
        if selftest is None
        else SelftestResult(verdict=selftest["verdict"], began_at=format_time(selftest["began_at"])),
    )


def _offered(definition: ServiceDefinition, offer: Mapping[str, Any], device: str) -> OfferedService:
    score = offer.get("score")
    # A model that failed to load is no offer until it loads again.
    models = set(offer["models"]) - set(offer.get("unavailable_models", ()))
    return OfferedService(
        service_id=definition.service_id,
        price=format_money(parse_money(offer["unit_price"])),
        unit=definition.unit_on(device),
        sale_units=sale_units(definition, device),
        speed=None if score is None else ServiceScore(**score),
        models=sorted(models) if definition.model_field else [],
    )
