"""Jobs given to offers: for the offer's miner at its price, until its miner stays away (docs/explanation/marketplace.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Final, Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field

from agent.coordinator import hooks, lifecycle
from agent.coordinator.consequences import Change
from agent.coordinator.features.offers import offers, store
from agent.coordinator.features.offers.fields import OfferNotAvailable, OfferOptions
from agent.coordinator.features.offers.rules import EXHAUSTED, Offer, OfferState, misfit
from agent.coordinator.features.offers.settings import OfferSettings
from agent.coordinator.hooks import UNKNOWN, NewJob
from agent.coordinator.job_fields import fields_of
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.supply import offline_before
from agent.coordinator.port import candidate_of
from agent.coordinator.store import events, jobs, ledger, queue
from agent.coordinator.store.events import NewEvent
from agent.coordinator.store.jobs import JobRecord
from agent.core.errors import (
    Conflict,
    JobAlreadyCompleted,
    JobNotFound,
    ValidationFailed,
)
from agent.core.jobs import FINAL, Abandon, Failure, JobState
from agent.core.market.ledger import JobSettlement
from agent.core.matching import Waiting
from agent.core.values.quantities import Money, format_time, format_units, to_units
from agent.sections import section_of
from aitbc.answers.accounts import Role
from aitbc.answers.market import OfferAccepted
from aitbc.reasons import ReasonCode
from runners.errors import FailureCode

Obstacle = Literal["withdrawn", "expired", "exhausted", "offline", "paused", "not_fitting"]

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
    record = jobs.lock(connection, request.job_id)
    if record is None or (caller.role is not Role.ADMIN and record.account_id != caller.account_id):
        raise JobNotFound(request.job_id)
    offer = offers.find(connection, offer_id)
    # A repeated request, whose answer was lost, gets the same answer as the first.
    former_id = store.of_job(connection, record.job_id)
    if former_id != offer_id:
        _check_job(record, former_id)
        record = _give(connection, context, record, offer_id, to_units(request.bid_price))
    # Read after the binding, which changes what the payment holds.
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
        price=format_units(offer.price if record.agreed_price is None else record.agreed_price),
    )


def _give(connection: Connection, context: Context, record: JobRecord, offer_id: str, bid: int) -> JobRecord:
    """Give a stored job to an offer. Raises `OfferNotAvailable`, and `ValidationFailed` for a bid below the price."""
    offer, assigned = _given(connection, context, record, offer_id)
    # The miner's price counts, not the bid: a bid is only the client's consent to a price that may have changed.
    if bid < offer.price:
        lowest = f"the offer's price is {format_units(offer.price)}; bid at least that"
        raise ValidationFailed("The bid is below the offer's price.", {"bid_price": lowest})
    lifecycle.bind(connection, assigned, offer.miner_id, offer.price)
    _reserve(connection, assigned, offer_id, context.clock())
    return assigned


def _given(
    connection: Connection, context: Context, record: JobRecord, offer_id: str
) -> tuple[Offer, JobRecord]:
    """Return the offer, locked, and the job with its miner and price. Raises `NotFound`, `OfferNotAvailable`."""
    # Locked, so that the offer cannot end between the check and the reservation.
    offer = offers.find(connection, offer_id, lock=True)
    _check_offer(connection, context, offer, record, context.clock())
    return offer, replace(record, requested_miner_id=offer.miner_id, agreed_price=offer.price)


def _reserve(connection: Connection, record: JobRecord, offer_id: str, now: float) -> None:
    """Use one of the jobs that are left, for this job. Raises `OfferNotAvailable` if there is none."""
    # Many clients may accept the last slot at the same time; the database decides who gets it.
    if not store.reserve(connection, offer_id):
        raise _unavailable(offers.find(connection, offer_id), "exhausted")
    store.add_job(connection, record, offer_id)
    offer = offers.find(connection, offer_id)
    updates = [_pending(record, offer, now, bound=True)]
    # Others who watch the market need not try this offer any more.
    if offer.jobs_left == 0:
        updates.append(store.event_of(offer, now))
    events.add(connection, updates, now)


def _release(connection: Connection, record: JobRecord, offer: Offer, now: float) -> None:
    """Release a waiting job from an offer that can no longer serve it, to any miner within its `max_cost`."""
    lifecycle.bind(connection, record, None, None)
    store.remove_job(connection, record.job_id)
    events.add(
        connection,
        [_pending(record, offer, now, bound=False), *_give_back(connection, offer.offer_id, now)],
        now,
    )


def _give_back(connection: Connection, offer_id: str, now: float) -> list[NewEvent]:
    """Return a job to the capacity of its offer. Return the event about the offer if it was exhausted."""
    offer = offers.find(connection, offer_id)
    store.give_back(connection, offer_id)
    # Only an offer that was full has become available again, which is news.
    if offer.status(now) != EXHAUSTED:
        return []
    return [store.event_of(offers.find(connection, offer_id), now)]


def _pending(record: JobRecord, offer: Offer, now: float, *, bound: bool) -> NewEvent:
    data = {
        "kind": "transaction",
        "transaction_id": ledger.payment_id(record.job_id),
        "job_id": record.job_id,
        "offer_id": offer.offer_id,
        "bound": bound,
        "status": ledger.Status.PENDING.value,
        "timestamp": format_time(now),
    }
    return NewEvent("marketplace_update", data, record.account_id, offer.miner_id, record.job_id)


def admit_job(connection: Connection, context: Context, job: NewJob) -> None:
    """Give a new job the miner and the price of the offer that its client has chosen. Raises `NotFound`, `OfferNotAvailable`."""
    offer_id = fields_of(job.options, OfferOptions).offer_id
    if offer_id is not None:
        _, job.record = _given(connection, context, job.record, offer_id)


def jobs_submitted(connection: Connection, new_jobs: Sequence[NewJob], now: float) -> None:
    """Use the capacity of the offers to which new jobs are given. Raises `OfferNotAvailable` if it does not suffice for all of them."""
    for job in new_jobs:
        # Each job reserves its own slot: together they may be more than the offer has left.
        if (offer_id := fields_of(job.options, OfferOptions).offer_id) is not None:
            _reserve(connection, job.record, offer_id, now)


def jobs_changed(
    connection: Connection, changes: Sequence[Change], _: Mapping[str, JobSettlement], now: float
) -> None:
    """Return the jobs that ended without a result to the capacity of their offers."""
    job_ids = [
        item.before.job_id
        for item in changes
        if item.finished
        and item.before.agreed_price is not None
        # A completed job has used up its slot.
        and item.life.state is not JobState.COMPLETED
    ]
    if not job_ids:
        return
    # In the order of their ids, in which all transactions lock offers.
    updates = [
        update
        for offer_id in sorted(store.of_jobs(connection, job_ids).values())
        for update in _give_back(connection, offer_id, now)
    ]
    events.add(connection, updates, now)


def _check_job(record: JobRecord, offer_id: str | None) -> None:
    """Raise `JobAlreadyCompleted` or `Conflict` unless the job waits and may run on any miner. `offer_id` is its present offer."""
    state = record.life.state
    if state in FINAL:
        raise JobAlreadyCompleted(f"Job {record.job_id} is already {state}.", {"status": state.value})
    if state is not JobState.SUBMITTED:
        raise Conflict(f"Job {record.job_id} is already {state}: a miner has it.", {"status": state.value})
    if record.requested_miner_id is not None:
        raise Conflict(
            f"Job {record.job_id} is already bound to the miner {record.requested_miner_id}.",
            {"miner_id": record.requested_miner_id, "offer_id": offer_id},
        )


def _check_offer(
    connection: Connection, context: Context, offer: Offer, record: JobRecord, now: float
) -> None:
    miner = offers.miner_of(connection, offer.miner_id)
    status = offer.status(now)
    obstacles: dict[Obstacle, bool] = {
        "withdrawn": status == OfferState.WITHDRAWN,
        "expired": status == OfferState.EXPIRED,
        "exhausted": status == EXHAUSTED,
        "offline": miner.seen_at < offline_before(context),
        "paused": miner.paused is not None,
    }
    # The first one is named, in the order in which they are final for the client.
    for obstacle, holds in obstacles.items():
        if holds:
            raise _unavailable(offer, obstacle)
    capabilities = offers.capabilities_of(miner)
    wire = capabilities.model_dump(mode="json")
    track_record = hooks.track_records(connection, now, [miner.miner_id]).get(miner.miner_id, UNKNOWN)
    # The miner may have lost a GPU since it made the offer.
    why = "; ".join(offers.broken(offer, capabilities).values()) or misfit(
        offer,
        _waiting(record),
        (record.service, record.name if record.name_given else record.service),
        record.max_cost,
        replace(candidate_of(miner.miner_id, miner.session, 1, wire), reputation=track_record.reputation),
    )
    if why:
        raise _unavailable(offer, "not_fitting", why)


def _waiting(record: JobRecord) -> Waiting:
    """Return the job as it is compared with the offer, whose price and miner its client has chosen."""
    job = queue.waiting_job(record)
    return replace(job, budget=None, miner_id=None, needs=(), avoid_miner_id=None, failed_on=frozenset())


_SENTENCES: dict[Obstacle, str] = {
    "withdrawn": "It was withdrawn.",
    "expired": "It has expired.",
    "exhausted": "It has reached its maximum number of jobs.",
    "offline": "Its miner is offline.",
    "paused": "Its miner is paused.",
}


_CODES: dict[Obstacle, ReasonCode] = {
    "withdrawn": ReasonCode.OFFER_ENDED,
    "expired": ReasonCode.OFFER_ENDED,
    "exhausted": ReasonCode.OFFER_FULL,
    "offline": ReasonCode.MINER_OFFLINE,
    "paused": ReasonCode.MINER_PAUSED,
}


def _unavailable(offer: Offer, obstacle: Obstacle, why: str = "") -> OfferNotAvailable:
    """Return the error for an offer. Its `reasons` have the form of those of a job that waits."""
    sentence = why or _SENTENCES[obstacle]
    code = _CODES.get(obstacle)
    reason = {
        "message": sentence,
        "action": "Choose another offer (GET /v1/marketplace/offers), or submit the job without one.",
        "details": {"offer_id": offer.offer_id, "miner_id": offer.miner_id},
    }
    reasons = [] if code is None else [{"code": code, "who": code.who, **reason}]
    return OfferNotAvailable(
        f"The offer {offer.offer_id} is not available. {sentence}",
        {"offer_id": offer.offer_id, "reason": obstacle, "explanation": sentence, "reasons": reasons},
    )


async def tidy(context: Context) -> None:
    """End expired offers, and return jobs to the open market whose offer's miner stays away. Those that no other miner can read fail."""
    now = context.clock()
    seen_before = now - section_of(context.settings, OfferSettings).offer_wait_seconds
    # Mostly there is nothing to do, and reading does not delay writers.
    if not await context.database.read(_anything_due, now, seen_before):
        return
    released = await context.database.write(_tidy, now, seen_before)
    if released:
        log.info("jobs_left_their_offers", count=released)
        context.dispatcher.job_waiting()


def _anything_due(connection: Connection, now: float, seen_before: float) -> bool:
    return bool(store.any_expired(connection, now) or store.stranded(connection, seen_before, limit=1))


def _tidy(connection: Connection, now: float, seen_before: float) -> int:
    records = store.lock_waiting(connection, store.stranded(connection, seen_before))
    for offer in store.lock_expired(connection, now):
        offers.end(connection, offer, OfferState.EXPIRED, now)
    # A sealed job can only be read by the miner it was sealed for, so it fails instead of going to another one.
    opaque = [record for record in records if record.is_opaque]
    lifecycle.save(connection, [Change.by(record, Abandon(now, _AWAY)) for record in opaque], now)
    offer_ids = store.of_jobs(connection, [record.job_id for record in records if record not in opaque])
    for record in records:
        if (offer_id := offer_ids.get(record.job_id)) is not None:
            _release(connection, record, offers.find(connection, offer_id), now)
    return len(offer_ids)
