"""Standing offers, which the coordinator makes from miners' configured prices.

They are rows like other offers, so that they are listed, accepted and withdrawn alike. They are written when a miner
registers or its capabilities change, and only if a price changed; whether the miner is online is determined when they are listed.
So a heartbeat without news costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import structlog
from pydantic import ValidationError

from agent.coordinator.features.offers import store
from agent.coordinator.features.offers.offers import end
from agent.coordinator.features.offers.rules import Offer, OfferState, Promise
from agent.coordinator.hooks import MinerReport
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import events, miners
from agent.core.values.quantities import to_units
from agent.protocol.messages import Capabilities

log = structlog.get_logger()


def miner_reported(connection: Connection, context: Context, report: MinerReport) -> None:
    """Update a miner's standing offers to match new capabilities, or end all offers of a miner that is removed.

    The jobs that wait for a removed miner are released by `acceptance.tidy`, which locks them before their offers.
    """
    if report.capabilities is not None:
        _refresh(connection, context, report.miner_id, report.capabilities)
    if report.removed:
        open_offers = store.open_offers(connection, report.miner_id)
        for offer in open_offers:
            end(connection, offer, OfferState.WITHDRAWN, context.clock())
        report.fields["ended_offers"] = len(open_offers)


def _refresh(connection: Connection, context: Context, miner_id: str, capabilities: Capabilities) -> None:
    prices = {
        service: to_units(offered.unit_price)
        for service, offered in capabilities.services.items()
        # The coordinator has no unit for services that it does not know.
        if service in context.catalogue.services
    }
    by_service = store.standing(connection, miner_id)
    now = context.clock()
    changed = [
        *_priced(connection, context, miner_id, prices, by_service),
        *_withdrawn(connection, [offer for service, offer in by_service.items() if service not in prices]),
    ]
    events.add(connection, [store.event_of(offer, now) for offer in changed], now)


def _priced(
    connection: Connection,
    context: Context,
    miner_id: str,
    prices: Mapping[str, int],
    by_service: Mapping[str, Offer],
) -> list[Offer]:
    changed = []
    for service, price in prices.items():
        offer = by_service.get(service)
        if offer is None:
            offer = Offer(
                offer_id=context.new_id("offer"),
                miner_id=miner_id,
                job_type=service,
                price=price,
                max_jobs=None,
                jobs_left=None,
                promise=Promise(),
                created_at=context.clock(),
                expires_at=None,
                service=service,
            )
            store.add(connection, offer)
        # The same row comes back with its id, so there is one standing offer for each service at most.
        elif (offer.price, offer.state) != (price, OfferState.ACTIVE):
            offer = replace(offer, price=price, state=OfferState.ACTIVE)
            store.save(connection, offer.offer_id, price=price, state=OfferState.ACTIVE)
        else:
            continue
        changed.append(offer)
    return changed


def _withdrawn(connection: Connection, offers: list[Offer]) -> list[Offer]:
    changed = [
        replace(offer, state=OfferState.WITHDRAWN) for offer in offers if offer.state is OfferState.ACTIVE
    ]
    for offer in changed:
        store.save(connection, offer.offer_id, price=offer.price, state=offer.state)
    return changed


async def refresh_all(context: Context) -> None:
    """Update all standing offers on startup: an older version, or one without a now installed service, may have written them."""
    await context.database.write(_refresh_all, context)


def _refresh_all(connection: Connection, context: Context) -> None:
    for miner in miners.all_miners(connection):
        try:
            capabilities = Capabilities.model_validate_json(miner.capabilities)
        except ValidationError:  # accepted by an older version; the miner sends them again when it registers
            log.warning("capabilities_unreadable", miner_id=miner.miner_id)
            continue
        _refresh(connection, context, miner.miner_id, capabilities)
