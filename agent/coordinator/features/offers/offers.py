"""Offers, which miners make and withdraw, and clients list (docs/explanation/marketplace.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Final

import structlog
from pydantic import BaseModel, ConfigDict, Field

from agent.coordinator import hooks
from agent.coordinator.features.offers import store
from agent.coordinator.features.offers.fields import OfferFilter, OfferOptions
from agent.coordinator.features.offers.rules import (
    EXHAUSTED,
    Offer,
    OfferState,
    Promise,
    broken_promises,
    kind_of,
)
from agent.coordinator.features.offers.settings import OfferSettings
from agent.coordinator.hooks import UNKNOWN, JobFields, Refusal, View
from agent.coordinator.job_fields import FilterFields, fields_of
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.supply import offline_before
from agent.coordinator.store import events, locks, miners, queue
from agent.coordinator.store.job_lists import Narrowing
from agent.coordinator.store.jobs import JobRecord
from agent.coordinator.store.miners import MinerRecord
from agent.core import feasibility
from agent.core.errors import (
    Conflict,
    Forbidden,
    NotFound,
    RateLimitExceeded,
    ValidationFailed,
    invalid_request,
)
from agent.core.values.quantities import (
    Money,
    Quantity,
    format_bytes,
    format_optional_time,
    format_time,
    format_units,
    parse_quantity,
    to_units,
)
from agent.core.waiting_reasons import WaitingReason
from agent.protocol.messages import Capabilities
from agent.sections import section_of
from agent.settings.coordinator import CoordinatorSettings
from aitbc.answers import market
from aitbc.answers.accounts import Role
from aitbc.reasons import ReasonCode

log = structlog.get_logger()

MAX_OFFERS: Final = 100
"""Cheapest offers among which one that a miner has made is sought."""


class Requirements(BaseModel, defer_build=True):
    """The minimum that the offer's machine has, as Kubernetes quantities: memory of its largest GPU, and CPU."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_gpu_memory: Quantity | None = Field(default=None, examples=["4Gi"])
    min_cpu: Quantity | None = Field(default=None, examples=["2000m"])


class OfferRequest(BaseModel, defer_build=True):
    """A new offer. `job_type` is a service id or the name of jobs; `price` is for each metered unit; `duration` is in seconds."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "job_type": "image-classification",
                    "price": "0.001",
                    "max_jobs": 10,
                    "requirements": {"min_gpu_memory": "4Gi", "min_cpu": "2000m"},
                    "duration": 3600,
                }
            ]
        },
    )

    job_type: Annotated[str, Field(min_length=1, max_length=64)]
    price: Money
    max_jobs: Annotated[int, Field(ge=1, le=1_000_000)]
    requirements: Requirements = Requirements()
    duration: Annotated[int, Field(ge=1)]


async def create(context: Context, caller: Caller, request: OfferRequest) -> market.Offer:
    """Put an offer on the market. Raises `ValidationFailed` if it promises more than its miner has."""
    if caller.miner_id is None:
        raise Forbidden("Offers are made by miners; use the key of a miner's owner.")
    longest = section_of(context.settings, OfferSettings).max_offer_seconds
    if request.duration > longest:
        raise invalid_request({"duration": f"at most {longest} seconds here"})
    now = context.clock()
    needs = request.requirements
    offer = Offer(
        offer_id=context.new_id("offer"),
        miner_id=caller.miner_id,
        job_type=request.job_type,
        price=to_units(request.price),
        max_jobs=request.max_jobs,
        jobs_left=request.max_jobs,
        promise=Promise(
            gpu_memory=int(parse_quantity(needs.min_gpu_memory or "0")),
            cpu_millis=int(parse_quantity(needs.min_cpu or "0") * 1000),
        ),
        created_at=now,
        expires_at=now + request.duration,
    )
    await context.database.write(_create, context, offer)
    log.info("offer_made", offer_id=offer.offer_id, miner_id=offer.miner_id, job_type=offer.job_type)
    return view(offer, now)


def _create(connection: Connection, context: Context, offer: Offer) -> None:
    capabilities = capabilities_of(miner_of(connection, offer.miner_id))
    errors = broken(offer, capabilities)
    kind = kind_of(offer.job_type)
    if (
        kind in context.catalogue.services and kind not in capabilities.services
    ) or not capabilities.services:
        offered = ", ".join(sorted(capabilities.services)) or "nothing"
        errors["job_type"] = f"this miner does not offer the service; it currently offers {offered}"
    if errors:
        raise ValidationFailed("The offer promises more than its miner has.", errors)
    # The limit must also hold for offers that are made at the same time.
    locks.session(connection, offer.miner_id)
    limit = section_of(context.settings, OfferSettings).max_offers_per_miner
    if store.count_open(connection, offer.miner_id) >= limit:
        raise RateLimitExceeded(f"You have {limit} open offers, which is the limit. Withdraw some first.")
    store.add(connection, offer)
    events.add(connection, [store.event_of(offer, offer.created_at)], offer.created_at)


def miner_of(connection: Connection, miner_id: str) -> MinerRecord:
    """Return the miner. Raises `NotFound`."""
    miner = miners.find(connection, miner_id)
    if miner is None:
        raise NotFound(f"There is no miner {miner_id}.", {"miner_id": miner_id})
    return miner


def capabilities_of(miner: MinerRecord) -> Capabilities:
    """Return a miner's capabilities, validated again because an older version may have stored them."""
    return Capabilities.model_validate_json(miner.capabilities)


def broken(offer: Offer, capabilities: Capabilities) -> dict[str, str]:
    """Return the promises that exceed what the offer's miner has, with their reasons, by field."""
    memories = [gpu.memory_total for gpu in capabilities.gpus]
    return broken_promises(offer.promise, capabilities.cpu_cores, memories)


async def available(
    context: Context, *, job_type: str | None, max_price: Decimal | None, limit: int
) -> market.OfferList:
    """Return the offers that can be accepted now, cheapest first."""
    now = context.clock()

    def read(connection: Connection) -> market.OfferList:
        offers = store.available(
            connection,
            kind=None if job_type is None else kind_of(job_type),
            max_price=None if max_price is None else to_units(max_price),
            limit=limit,
            now=now,
            seen_after=offline_before(context),
        )
        track_records = hooks.track_records(connection, now, sorted({offer.miner_id for offer in offers}))
        return market.OfferList(
            offers=[
                view(offer, now, track_records.get(offer.miner_id, UNKNOWN).reputation) for offer in offers
            ]
        )

    return await context.database.read(read)


def job_refused(connection: Connection, context: Context, refusal: Refusal) -> None:
    """Accept a job that is given to an offer, and one that is only too costly while its client may accept an offer for it."""
    job, situation = refusal.job, refusal.situation
    # Whether it fits is checked with the offer locked.
    if fields_of(job.options, OfferOptions).offer_id is not None:
        refusal.error = None
        return
    # An offer may be cheaper than the configured prices, for which the job was refused.
    at_any_price = replace(queue.waiting_job(job.record), budget=None)
    if feasibility.feasible(at_any_price, situation) and _affordable(
        connection, context, job.record, situation.units
    ):
        refusal.error = None


def _affordable(connection: Connection, context: Context, record: JobRecord, units: Decimal | None) -> bool:
    """Return whether a miner has made an offer within the job's `max_cost` for these units."""
    listed = [
        offer
        for name in {record.type, record.name}
        for offer in store.available(
            connection,
            kind=kind_of(name),
            max_price=int(record.max_cost / max(Decimal(1), units or Decimal(1))),
            limit=MAX_OFFERS,
            now=context.clock(),
            seen_after=offline_before(context),
        )
    ]
    # Standing offers have the prices for which the job is too costly.
    return any(not offer.standing for offer in listed)


def _reason(connection: Connection, offer_id: str) -> WaitingReason | None:
    """Return that a job still waits for the miner of an offer that has ended, None if it has not."""
    offer = store.find(connection, offer_id)
    # An offer that has expired just now gets this state in a moment.
    if offer is None or offer.state not in (OfferState.WITHDRAWN, OfferState.EXPIRED):
        return None
    return WaitingReason(
        ReasonCode.OFFER_ENDED,
        f"The offer {offer_id} has ended; the job still waits for its miner {offer.miner_id}.",
        "Wait for the miner, or cancel the job and submit it again with another offer or with none.",
        {"offer_id": offer_id},
    )


def describe_jobs(connection: Connection, records: Sequence[JobRecord], view: View) -> JobFields:
    """Return the offers of jobs as a field of answers, or why they wait. A job that runs again is not given to its offer."""
    if view in (View.OPTIONS, View.LEASE):
        return {}
    offer_ids = store.of_jobs(connection, [record.job_id for record in records])
    if view is View.REASONS:
        reasons = {job_id: _reason(connection, offer_id) for job_id, offer_id in offer_ids.items()}
        return {job_id: {"offer": reason} for job_id, reason in reasons.items() if reason is not None}
    return {job_id: {"offer_id": offer_id} for job_id, offer_id in offer_ids.items()}


def filter_jobs(
    _settings: CoordinatorSettings, filters: FilterFields, account_id: str | None
) -> Narrowing | None:
    """Return the condition of a list's filter by offer."""
    offer_id = fields_of(filters, OfferFilter).offer_id
    return None if offer_id is None else store.narrowing(offer_id, account_id)


async def own(context: Context, caller: Caller, *, limit: int, before_id: str | None) -> market.OfferList:
    """Return the caller's own offers in any state, newest first."""
    if caller.miner_id is None:
        raise Forbidden("Only miners have offers; use the key of a miner's owner.")
    offers = await context.database.read(
        store.of_miner, caller.miner_id, limit=limit + 1, before_id=before_id
    )
    page, now = offers[:limit], context.clock()
    return market.OfferList(
        offers=[view(offer, now) for offer in page],
        next=page[-1].offer_id if len(offers) > limit else None,
    )


def view(offer: Offer, now: float, reputation: float | None = None) -> market.Offer:
    """Return the answer that describes an offer."""
    promise = offer.promise
    return market.Offer(
        offer_id=offer.offer_id,
        miner_id=offer.miner_id,
        job_type=offer.job_type,
        price=format_units(offer.price),
        status=offer.status(now),
        standing=offer.standing,
        requirements=market.OfferRequirements(
            min_gpu_memory=format_bytes(promise.gpu_memory) if promise.gpu_memory else None,
            min_cpu=f"{promise.cpu_millis}m" if promise.cpu_millis else None,
        ),
        created_at=format_time(offer.created_at),
        max_jobs=offer.max_jobs,
        jobs_left=offer.jobs_left,
        expires_at=format_optional_time(offer.expires_at),
        reputation=reputation,
    )


async def withdraw(context: Context, caller: Caller, offer_id: str) -> market.OfferEnded:
    """Take an offer from the market; jobs that accepted it still run. Repeating it gets the same answer."""
    offer = await context.database.write(_withdraw, caller, offer_id, context.clock())
    return market.OfferEnded(offer_id=offer_id, status=offer.status(context.clock()))


def _withdraw(connection: Connection, caller: Caller, offer_id: str, now: float) -> Offer:
    offer = find(connection, offer_id, lock=True)
    # Answered as if there were no such offer, like all objects of others.
    if caller.role is not Role.ADMIN and offer.miner_id != caller.miner_id:
        raise _unknown(offer_id)
    # It would come back at the miner's next registration.
    if offer.standing:
        raise Conflict(
            "A standing offer follows from the miner's configured price. Change the setting miner.prices, or pause the miner.",
            {"offer_id": offer_id},
        )
    # A repeated withdrawal changes nothing.
    if offer.status(now) not in (OfferState.ACTIVE, EXHAUSTED):
        return offer
    return end(connection, offer, OfferState.WITHDRAWN, now)


def end(connection: Connection, offer: Offer, state: OfferState, now: float) -> Offer:
    """Take an offer from the market, and publish that."""
    ended = replace(offer, state=state)
    store.save(connection, offer.offer_id, price=offer.price, state=state)
    events.add(connection, [store.event_of(ended, now)], now)
    return ended


def find(connection: Connection, offer_id: str, *, lock: bool = False) -> Offer:
    """Return the offer; with `lock`, no other transaction changes it until this one ends. Raises `NotFound`."""
    offer = store.lock(connection, offer_id) if lock else store.find(connection, offer_id)
    if offer is None:
        raise _unknown(offer_id)
    return offer


def _unknown(offer_id: str) -> NotFound:
    return NotFound(f"There is no offer {offer_id}.", {"offer_id": offer_id})
