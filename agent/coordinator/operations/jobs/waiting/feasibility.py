"""Whether the known miners can run a job: the refusal of jobs that none can ever run, and the ground for estimates."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from decimal import Decimal
from typing import Final

from agent.coordinator.operations.answers.jobs import JobReason
from agent.coordinator.operations.caches import Fleet
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.supply import fleet, offline_before
from agent.coordinator.store import offers as offer_store
from agent.coordinator.store import queue
from agent.coordinator.store.jobs import JobRecord
from agent.core.errors import CannotRun
from agent.core.explaining import KnownMiner, ModelNeeds, Reason, Situation, able, explain, possible
from agent.core.market.offers import kind_of
from agent.core.matching import Waiting
from agent.core.reasons import ReasonCode

TOO_COSTLY: Final = frozenset({ReasonCode.PRICE_ABOVE_MAX_COST, ReasonCode.ESTIMATE_ABOVE_MAX_COST})
MAX_OFFERS: Final = 100
"""Cheapest offers among which one that is not standing is sought."""
MAX_ANSWERS: Final = 10_000
"""Cached answers about the known miners."""


def basis_of(context: Context, record: JobRecord) -> Situation:
    """Return the part of a job's situation that does not change."""
    return situation_of_kind(context, record.service, record.model)


def situation_of_kind(context: Context, service: str, model: str | None) -> Situation:
    """Return the situation of jobs of a service and model, without miners."""
    definition = context.services.get(service)
    unit = "unit" if definition is None else definition.unit
    return Situation((), context.clock(), unit=unit, model=_needs(context, model))


def with_load(miner: KnownMiner, context: Context, service: str, model: str | None) -> KnownMiner:
    """Return the miner with whether it has free capacity for jobs of a service and model."""
    port = context.dispatcher.connected(miner.miner_id)
    free = port is not None and port.free.accepts(service, model)
    return replace(miner, busy=not free)


def _needs(context: Context, model: str | None) -> ModelNeeds | None:
    entry = None if model is None else context.catalogue.get(model)
    return None if entry is None else ModelNeeds(entry.vram_min, entry.memory, entry.fetchable)


def reason_answer(reason: Reason) -> JobReason:
    """Return a reason as answers show it."""
    return JobReason(
        code=reason.code,
        message=reason.message,
        who=reason.who,
        action=reason.action,
        details=dict(reason.details),
    )


async def require_possible(context: Context, record: JobRecord, units: Decimal | None) -> None:
    """Raise `CannotRun` if no known miner can ever run a new job.

    The known miners are a few seconds old; before a job is refused, they are read again. A job that is too costly for all of them is
    accepted while there is an offer that it can pay.
    """
    known = await fleet(context)
    if _possible(context, known, record, units):
        return
    known = await fleet(context, now=True)
    if _possible(context, known, record, units):
        return
    situation = replace(basis_of(context, record), miners=known.miners, units=units)
    found = explain(_new(record), situation)
    too_costly = all(reason.code in TOO_COSTLY for reason in found.reasons)
    if too_costly and await context.database.read(_has_offer, context, record, units):
        return
    raise CannotRun(
        f"No known miner can run this job. {found.summary}",
        {"reasons": [reason_answer(reason).model_dump(mode="json") for reason in found.reasons]},
    )


def _has_offer(connection: Connection, context: Context, record: JobRecord, units: Decimal | None) -> bool:
    """Return whether a miner has made an offer within the job's `max_cost`, which its client may accept."""
    listed = [
        found
        for name in {record.type, record.name}
        for found in offer_store.available(
            connection,
            kind=kind_of(name),
            max_price=int(record.max_cost / max(Decimal(1), units or Decimal(1))),
            limit=MAX_OFFERS,
            now=context.clock(),
            seen_after=offline_before(context),
        )
    ]
    return any(not found.offer.standing for found in listed)


def _possible(context: Context, known: Fleet, record: JobRecord, units: Decimal | None) -> bool:
    key = ("possible", _kind(record), units)
    if (cached := known.answers.get(key)) is not None:
        return cached
    situation = replace(basis_of(context, record), miners=known.miners, units=units)
    return _cached(known, key, possible(_new(record), situation))


def takeable(context: Context, known: Fleet, record: JobRecord) -> bool:
    """Return whether one of the known miners can run the waiting job at present, once it has free capacity."""
    if not known.miners:
        return True
    if (cached := takeable_cached(known, record)) is not None:
        return cached
    job = _new(record)
    situation = replace(basis_of(context, record), miners=known.miners)
    return _cached(
        known, ("takeable", _kind(record)), any(able(job, miner, situation) for miner in known.miners)
    )


def takeable_cached(known: Fleet, record: JobRecord) -> bool | None:
    """Return what `takeable` has answered for such a job, None if it was not asked since the miners were read."""
    return known.answers.get(("takeable", _kind(record)))


def _new(record: JobRecord) -> Waiting:
    """Return the job as if it had never run: whom it avoids differs between jobs of a kind, and soon ends."""
    return replace(queue.waiting_job(record), avoid_miner_id=None, failed_on=frozenset())


def _kind(record: JobRecord) -> tuple[Hashable, ...]:
    """Return everything about a job that decides which miners can run it."""
    price = record.max_cost if record.agreed_price is None else None
    resources = (record.cpu_millis, record.memory, record.gpus)
    return (
        record.service,
        record.model,
        *resources,
        price,
        record.requested_miner_id,
        record.needs,
        record.restrictions,
    )


def _cached(known: Fleet, key: tuple[Hashable, ...], answer: bool) -> bool:
    if len(known.answers) >= MAX_ANSWERS:
        known.answers.clear()
    known.answers[key] = answer
    return answer
