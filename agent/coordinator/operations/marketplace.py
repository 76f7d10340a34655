"""The marketplace: miners offer to run jobs at a price, clients give jobs to offers (docs/marketplace.md)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Any, Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field, field_validator

from agent.coordinator import lifecycle
from agent.coordinator.dispatch import candidate_of
from agent.coordinator.operations.access import Caller, Role
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.submission import MAX_QUANTITY
from agent.coordinator.operations.supply import offline_before
from agent.coordinator.operations.wire import Capabilities
from agent.coordinator.store import events as event_store
from agent.coordinator.store import jobs as job_store
from agent.coordinator.store import ledger
from agent.coordinator.store import miners as miner_store
from agent.coordinator.store import offers as store
from agent.coordinator.store.jobs import JobRecord
from agent.coordinator.store.miners import MinerRecord
from agent.core.errors import (
    Conflict,
    Forbidden,
    JobAlreadyCompleted,
    JobNotFound,
    NotFound,
    OfferNotAvailable,
    RateLimitExceeded,
    ValidationFailed,
)
from agent.core.jobs import FINAL, JobState
from agent.core.matching import Waiting
from agent.core.offers import EXHAUSTED, Offer, OfferState, Promise, broken_promises, kind_of, misfit
from agent.core.quantities import Money, format_money, format_time, from_units, parse_quantity, to_units
from agent.core.reputation import shown

View = dict[str, Any]
Reason = Literal["withdrawn", "expired", "exhausted", "offline", "paused", "not_fitting"]

log = structlog.get_logger()


class Requirements(BaseModel):
    """What the offer's machine has at least, as Kubernetes quantities: memory of its largest GPU, and CPU."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_gpu_memory: str | None = Field(default=None, examples=["4Gi"])
    min_cpu: str | None = Field(default=None, examples=["2000m"])

    @field_validator("min_gpu_memory", "min_cpu")
    @classmethod
    def _quantity(cls, value: str | None) -> str | None:
        if value is not None and parse_quantity(value) > MAX_QUANTITY:
            raise ValueError("no machine has that much")
        return value


class OfferRequest(BaseModel):
    """A new offer. `job_type` is a service id or the name of jobs, `price` is for each metered unit, `duration` in seconds."""

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


class AcceptRequest(BaseModel):
    """Which job is given to the offer. `bid_price` is the most that a unit may cost; the offer's own price is what it costs."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        json_schema_extra={"examples": [{"job_id": "job_1234567890", "bid_price": "0.001"}]},
    )

    job_id: Annotated[str, Field(max_length=64)]
    bid_price: Money


async def create(context: Context, caller: Caller, request: OfferRequest) -> View:
    """Put an offer on the market. Raises `ValidationFailed` if it promises what its miner does not have."""
    if caller.miner_id is None:
        raise Forbidden("Offers are made by miners; use the key of a miner's owner.")
    longest = context.settings.max_offer_seconds
    if request.duration > longest:
        raise ValidationFailed("The request is not valid.", {"duration": f"at most {longest} seconds here"})
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
    capabilities = _capabilities(_miner(connection, offer.miner_id))
    faults = _broken(offer, capabilities)
    kind = kind_of(offer.job_type)
    if (kind in context.services and kind not in capabilities.services) or not capabilities.services:
        offered = ", ".join(sorted(capabilities.services)) or "nothing"
        faults["job_type"] = f"this miner does not offer the service; at present it offers {offered}"
    if faults:
        raise ValidationFailed("The offer promises more than its miner has.", faults)
    limit = context.settings.max_offers_per_miner
    if store.count_open(connection, offer.miner_id) >= limit:
        raise RateLimitExceeded(f"You have {limit} open offers, which is the limit; withdraw some first.")
    store.add(connection, offer)
    event_store.add(connection, [store.told(offer, offer.created_at)], offer.created_at)


def _miner(connection: Connection, miner_id: str) -> MinerRecord:
    miner = miner_store.find(connection, miner_id)
    if miner is None:
        raise NotFound(f"There is no miner {miner_id}.", {"miner_id": miner_id})
    return miner


def _capabilities(miner: MinerRecord) -> Capabilities:
    return Capabilities.model_validate_json(miner.capabilities)


def _broken(offer: Offer, capabilities: Capabilities) -> dict[str, str]:
    memories = [gpu.memory_total for gpu in capabilities.gpus]
    return broken_promises(offer.promise, capabilities.cpu_cores, memories)


async def listed(
    context: Context, *, job_type: str | None, max_price: Decimal | None, limit: int
) -> list[View]:
    """Offers that can be accepted now, the cheapest first."""
    now = context.clock()
    found = await context.database.read(
        store.available,
        kind=None if job_type is None else kind_of(job_type),
        max_price=None if max_price is None else to_units(max_price),
        limit=limit,
        now=now,
        seen_after=offline_before(context),
    )
    return [{**view(item.offer, now), "reputation": shown(item.evidence, now)} for item in found]


async def own(context: Context, caller: Caller, *, limit: int, before: str | None) -> View:
    """The caller's own offers in any state, newest first."""
    if caller.miner_id is None:
        raise Forbidden("Only miners have offers of their own; use the key of a miner's owner.")
    found = await context.database.read(store.of_miner, caller.miner_id, limit=limit + 1, before=before)
    page, now = found[:limit], context.clock()
    return {
        "offers": [view(offer, now) for offer in page],
        "next": page[-1].offer_id if len(found) > limit else None,
    }


def view(offer: Offer, now: float) -> View:
    """An offer as it travels; what does not apply is left out."""
    promise = offer.promise
    requirements = {
        "min_gpu_memory": str(promise.gpu_memory) if promise.gpu_memory else None,
        "min_cpu": f"{promise.cpu_millis}m" if promise.cpu_millis else None,
    }
    answer: View = {
        "offer_id": offer.offer_id,
        "miner_id": offer.miner_id,
        "job_type": offer.job_type,
        "price": _money(offer.price),
        "status": offer.status(now),
        "standing": offer.standing,
        "requirements": {name: value for name, value in requirements.items() if value is not None},
        "created_at": format_time(offer.created_at),
    }
    optional = {
        "max_jobs": offer.max_jobs,
        "jobs_left": offer.jobs_left,
        "expires_at": None if offer.expires_at is None else format_time(offer.expires_at),
    }
    return answer | {name: value for name, value in optional.items() if value is not None}


async def withdraw(context: Context, caller: Caller, offer_id: str) -> View:
    """Take an offer from the market; jobs that accepted it still run. Withdrawing again gives the same answer."""
    offer = await context.database.write(_withdraw, caller, offer_id, context.clock())
    return {"offer_id": offer_id, "status": offer.status(context.clock())}


def _withdraw(connection: Connection, caller: Caller, offer_id: str, now: float) -> Offer:
    offer = _find(connection, offer_id)
    if caller.role is not Role.ADMIN and offer.miner_id != caller.miner_id:
        raise _unknown(offer_id)
    if offer.standing:
        raise Conflict(
            "A standing offer follows from the price that the miner has configured; change miner.prices, or pause the miner.",
            {"offer_id": offer_id},
        )
    if offer.status(now) not in (OfferState.ACTIVE, EXHAUSTED):
        return offer
    return _end(connection, offer, OfferState.WITHDRAWN, now)


def _end(connection: Connection, offer: Offer, state: OfferState, now: float) -> Offer:
    ended = replace(offer, state=state)
    store.save(connection, offer.offer_id, price=offer.price, state=state)
    event_store.add(connection, [store.told(ended, now)], now)
    return ended


def _find(connection: Connection, offer_id: str) -> Offer:
    offer = store.find(connection, offer_id)
    if offer is None:
        raise _unknown(offer_id)
    return offer


def _unknown(offer_id: str) -> NotFound:
    return NotFound(f"There is no offer {offer_id}.", {"offer_id": offer_id})


async def accept(context: Context, caller: Caller, offer_id: str, request: AcceptRequest) -> View:
    """Give a job to an offer's miner, at the offer's price. The same again gets the same transaction.

    Raises `OfferNotAvailable` with the reason, `Conflict` for a job that is bound, runs or has ended, `ValidationFailed` for
    a bid below the price.
    """
    answer = await context.database.write(_accept, context, caller, offer_id, request)
    context.dispatcher.job_waiting()
    log.info("offer_accepted", offer_id=offer_id, job_id=request.job_id)
    return answer


def _accept(
    connection: Connection, context: Context, caller: Caller, offer_id: str, request: AcceptRequest
) -> View:
    record = job_store.find(connection, request.job_id)
    if record is None or (caller.role is not Role.ADMIN and record.account_id != caller.account_id):
        raise JobNotFound(request.job_id)
    offer = _find(connection, offer_id)
    if record.offer_id != offer_id:
        _check_job(record)
        bind(connection, context, record, offer_id, to_units(request.bid_price))
    payment = ledger.find(connection, ledger.payment_id(record.job_id))
    if payment is None:
        raise Conflict(f"Job {record.job_id} has no payment; it is from before jobs had one.")
    return {
        "transaction_id": payment.tx_id,
        "status": payment.status,
        "created_at": format_time(payment.created_at),
        "job_id": record.job_id,
        "offer_id": offer_id,
        "miner_id": offer.miner_id,
        "price": _money(offer.price if record.agreed_price is None else record.agreed_price),
    }


def bind(
    connection: Connection, context: Context, record: JobRecord, offer_id: str, bid: int | None = None
) -> None:
    """Give a job that waits to an offer, inside a transaction of another use case.

    Raises `NotFound`, `OfferNotAvailable`, and `ValidationFailed` for a bid below the price; without a bid, the offer's price
    is taken as it is.
    """
    offer = _find(connection, offer_id)
    now = context.clock()
    _check_offer(connection, context, offer, record, now)
    if bid is not None and bid < offer.price:
        lowest = f"the offer's price is {_money(offer.price)}; bid at least that"
        raise ValidationFailed("The bid is below the offer's price.", {"bid_price": lowest})
    if not lifecycle.bind(connection, record, offer, now):
        raise _unavailable(offer, "exhausted")


def _check_job(record: JobRecord) -> None:
    state = record.life.state
    if state in FINAL:
        raise JobAlreadyCompleted(f"Job {record.job_id} is {state} already.", {"status": state.value})
    if state is not JobState.SUBMITTED:
        raise Conflict(f"Job {record.job_id} is {state} already: a miner has it.", {"status": state.value})
    if record.requested_miner_id is not None:
        raise Conflict(
            f"Job {record.job_id} is bound to the miner {record.requested_miner_id} already.",
            {"miner_id": record.requested_miner_id, "offer_id": record.offer_id},
        )


def _check_offer(
    connection: Connection, context: Context, offer: Offer, record: JobRecord, now: float
) -> None:
    miner = _miner(connection, offer.miner_id)
    status = offer.status(now)
    reasons: dict[Reason, bool] = {
        "withdrawn": status == OfferState.WITHDRAWN,
        "expired": status == OfferState.EXPIRED,
        "exhausted": status == EXHAUSTED,
        "offline": miner.seen_at < offline_before(context),
        "paused": miner.paused is not None,
    }
    for reason, holds in reasons.items():
        if holds:
            raise _unavailable(offer, reason)
    capabilities = _capabilities(miner)
    wire = capabilities.model_dump(mode="json")
    why = "; ".join(_broken(offer, capabilities).values()) or misfit(
        offer,
        _waiting(record),
        (record.service, record.name),
        record.max_cost,
        candidate_of(miner.miner_id, miner.session, 1, wire),
    )
    if why:
        raise _unavailable(offer, "not_fitting", why)


def _waiting(record: JobRecord) -> Waiting:
    return Waiting(
        job_id=record.job_id,
        account_id=record.account_id,
        service=record.service,
        model=record.model,
        priority=record.priority,
        submitted_at=record.created_at,
        cpu=Decimal(record.cpu_millis) / 1000,
        memory=record.memory,
        gpus=record.gpus,
    )


_SENTENCES: dict[Reason, str] = {
    "withdrawn": "It was withdrawn.",
    "expired": "Its time is over.",
    "exhausted": "It has no place left for another job.",
    "offline": "Its miner has not been heard of lately.",
    "paused": "Its miner is paused.",
}


def _unavailable(offer: Offer, reason: Reason, why: str = "") -> OfferNotAvailable:
    sentence = why or _SENTENCES[reason]
    return OfferNotAvailable(
        f"The offer {offer.offer_id} is not available. {sentence}",
        {"offer_id": offer.offer_id, "reason": reason, "explanation": sentence},
    )


async def tidy(context: Context) -> None:
    """Mark offers whose time is over, and give jobs to the open market whose offer's miner does not come for them."""
    now = context.clock()
    seen_before = now - context.settings.offer_wait_seconds
    if not await context.database.read(_anything_due, now, seen_before):
        return
    freed = await context.database.write(_tidy, now, seen_before)
    if freed:
        log.info("jobs_left_their_offers", count=freed)
        context.dispatcher.job_waiting()


def _anything_due(connection: Connection, now: float, seen_before: float) -> bool:
    return bool(store.expired(connection, now, limit=1) or store.stranded(connection, seen_before, limit=1))


def _tidy(connection: Connection, now: float, seen_before: float) -> int:
    for offer in store.expired(connection, now):
        _end(connection, offer, OfferState.EXPIRED, now)
    freed = store.stranded(connection, seen_before)
    for record in freed:
        if record.offer_id is not None:
            lifecycle.unbind(connection, record, _find(connection, record.offer_id), now)
    return len(freed)


def _money(units: int) -> str:
    return format_money(from_units(units))
