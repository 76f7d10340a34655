"""Jobs given to offers: bound to the miner and price, and released if the offer's miner stays away (docs/explanation/marketplace.md)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Final, Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field

from agent.coordinator import lifecycle
from agent.coordinator.consequences import Change
from agent.coordinator.dispatch.port import candidate_of
from agent.coordinator.operations.answers.market import OfferAccepted
from agent.coordinator.operations.callers import Caller, Role
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.market import offers
from agent.coordinator.operations.supply import offline_before
from agent.coordinator.store import jobs as job_store
from agent.coordinator.store import ledger, miner_stats, queue
from agent.coordinator.store import offers as store
from agent.coordinator.store.jobs import JobRecord
from agent.coordinator.store.unfinished import Unfinished
from agent.core.errors import (
    Conflict,
    JobAlreadyCompleted,
    JobNotFound,
    OfferNotAvailable,
    ValidationFailed,
)
from agent.core.jobs import FINAL, Abandon, Failure, JobState
from agent.core.market.offers import EXHAUSTED, Offer, OfferState, misfit
from agent.core.market.reputation import shown
from agent.core.matching import Waiting
from agent.core.reasons import ReasonCode
from agent.core.values.quantities import Money, format_time, to_units
from runners.errors import FailureCode

Reason = Literal["withdrawn", "expired", "exhausted", "offline", "paused", "not_fitting"]

_AWAY: Final = Failure(
    FailureCode.SEALED_MINER_AWAY,
    "The offer's miner stayed away, and no other can read this sealed job. Seal the request to another miner and submit it again.",
)

log = structlog.get_logger()


class AcceptRequest(BaseModel, defer_build=True):
    """The job to give to the offer. `bid_price` is the maximum price of a unit; the offer's own price is charged."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        json_schema_extra={"examples": [{"job_id": "job_1234567890", "bid_price": "0.001"}]},
    )

    job_id: Annotated[str, Field(max_length=64)]
    bid_price: Money


async def accept(context: Context, caller: Caller, offer_id: str, request: AcceptRequest) -> OfferAccepted:
    """Give a job to an offer's miner, at the offer's price. A repeated request gets the same transaction.

    Raises `OfferNotAvailable` with the reason, `Conflict` for a job that is bound, running or ended, `ValidationFailed` for
    a bid below the price.
    """
    answer = await context.database.write(_accept, context, caller, offer_id, request)
    context.dispatcher.job_waiting()
    log.info("offer_accepted", offer_id=offer_id, job_id=request.job_id)
    return answer


def _accept(
    connection: Connection, context: Context, caller: Caller, offer_id: str, request: AcceptRequest
) -> OfferAccepted:
    record = job_store.lock(connection, request.job_id)
    if record is None or (caller.role is not Role.ADMIN and record.account_id != caller.account_id):
        raise JobNotFound(request.job_id)
    offer = offers.find(connection, offer_id)
    if record.offer_id != offer_id:
        _check_job(record)
        bind(connection, context, record, offer_id, to_units(request.bid_price))
    payment = ledger.find(connection, ledger.payment_id(record.job_id))
    if payment is None:
        raise Conflict(f"Job {record.job_id} has no payment: it was submitted before jobs had payments.")
    return OfferAccepted(
        transaction_id=payment.tx_id,
        status=payment.status,
        created_at=format_time(payment.created_at),
        job_id=record.job_id,
        offer_id=offer_id,
        miner_id=offer.miner_id,
        price=offers.money(offer.price if record.agreed_price is None else record.agreed_price),
    )


def bind(
    connection: Connection, context: Context, record: JobRecord, offer_id: str, bid: int | None = None
) -> None:
    """Give a submitted job to an offer, inside a transaction of another use case.

    Raises `NotFound`, `OfferNotAvailable`, and `ValidationFailed` for a bid below the price; without a bid, any price is accepted.
    """
    offer = offers.find(connection, offer_id, lock=True)
    now = context.clock()
    _check_offer(connection, context, offer, record, now)
    if bid is not None and bid < offer.price:
        lowest = f"the offer's price is {offers.money(offer.price)}; bid at least that"
        raise ValidationFailed("The bid is below the offer's price.", {"bid_price": lowest})
    if not lifecycle.bind(connection, record, offer, now):
        raise _unavailable(offer, "exhausted")


def _check_job(record: JobRecord) -> None:
    state = record.life.state
    if state in FINAL:
        raise JobAlreadyCompleted(f"Job {record.job_id} is already {state}.", {"status": state.value})
    if state is not JobState.SUBMITTED:
        raise Conflict(f"Job {record.job_id} is already {state}: a miner has it.", {"status": state.value})
    if record.requested_miner_id is not None:
        raise Conflict(
            f"Job {record.job_id} is already bound to the miner {record.requested_miner_id}.",
            {"miner_id": record.requested_miner_id, "offer_id": record.offer_id},
        )


def _check_offer(
    connection: Connection, context: Context, offer: Offer, record: JobRecord, now: float
) -> None:
    miner = offers.miner_of(connection, offer.miner_id)
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
    capabilities = offers.capabilities_of(miner)
    wire = capabilities.model_dump(mode="json")
    reputation = shown(miner_stats.find(connection, miner.miner_id).evidence, now)
    why = "; ".join(offers.broken(offer, capabilities).values()) or misfit(
        offer,
        _waiting(record),
        (record.service, record.name if record.name_given else record.service),
        record.max_cost,
        replace(candidate_of(miner.miner_id, miner.session, 1, wire), reputation=reputation),
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
        restrictions=queue.restrictions_of(record),
    )


_SENTENCES: dict[Reason, str] = {
    "withdrawn": "It was withdrawn.",
    "expired": "It has expired.",
    "exhausted": "It has reached its maximum number of jobs.",
    "offline": "Its miner is offline.",
    "paused": "Its miner is paused.",
}


_CODES: dict[Reason, ReasonCode] = {
    "withdrawn": ReasonCode.OFFER_ENDED,
    "expired": ReasonCode.OFFER_ENDED,
    "exhausted": ReasonCode.OFFER_FULL,
    "offline": ReasonCode.MINER_OFFLINE,
    "paused": ReasonCode.MINER_PAUSED,
}


def _unavailable(offer: Offer, reason: Reason, why: str = "") -> OfferNotAvailable:
    """Return the error for an offer. Its `reasons` have the form of those of a job that waits."""
    sentence = why or _SENTENCES[reason]
    code = _CODES.get(reason)
    shown = {
        "message": sentence,
        "action": "Choose another offer (GET /v1/marketplace/offers), or submit the job without one.",
        "details": {"offer_id": offer.offer_id, "miner_id": offer.miner_id},
    }
    reasons = [] if code is None else [{"code": code, "who": code.who, **shown}]
    return OfferNotAvailable(
        f"The offer {offer.offer_id} is not available. {sentence}",
        {"offer_id": offer.offer_id, "reason": reason, "explanation": sentence, "reasons": reasons},
    )


async def tidy(context: Context) -> None:
    """End expired offers, and return jobs to the open market whose offer's miner stays away. Those that no other miner can read fail."""
    now = context.clock()
    seen_before = now - context.settings.offer_wait_seconds
    known = context.dispatcher.unfinished.known
    if not await context.database.read(_anything_due, now, seen_before, known):
        return
    freed = await context.database.write(_tidy, now, seen_before, known)
    if freed:
        log.info("jobs_left_their_offers", count=freed)
        context.dispatcher.job_waiting()


def _anything_due(connection: Connection, now: float, seen_before: float, known: Unfinished | None) -> bool:
    return bool(store.any_expired(connection, now) or store.stranded(connection, seen_before, known, limit=1))


def _tidy(connection: Connection, now: float, seen_before: float, known: Unfinished | None) -> int:
    freed = store.lock_waiting(connection, store.stranded(connection, seen_before, known))
    for offer in store.lock_expired(connection, now):
        offers.end(connection, offer, OfferState.EXPIRED, now)
    opaque = [record for record in freed if record.is_opaque]
    lifecycle.save(connection, [Change.by(record, Abandon(now, _AWAY)) for record in opaque], now)
    for record in freed:
        if record.offer_id is not None and record not in opaque:
            lifecycle.unbind(connection, record, offers.find(connection, record.offer_id), now)
    return len(freed) - len(opaque)
