"""Offers: rows, their capacity, and which are currently available."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from agent.coordinator.store.events import NewEvent
from agent.coordinator.store.jobs import JobRecord, lock_many
from agent.coordinator.store.schema.tables import jobs, miner_stats, miners, offers
from agent.coordinator.store.unfinished import Unfinished, in_state
from agent.core.jobs import JobState
from agent.core.market.offers import Offer, OfferState, Promise, kind_of
from agent.core.market.reputation import NOTHING, Evidence
from agent.core.values.quantities import format_money, format_time, from_units

_COLUMNS = (
    offers.c.offer_id, offers.c.miner_id, offers.c.job_type, offers.c.price, offers.c.max_jobs, offers.c.jobs_left,
    offers.c.min_gpu_memory, offers.c.min_cpu_millis, offers.c.created_at, offers.c.expires_at, offers.c.state,
    offers.c.service,
)  # fmt: skip
# With literal conditions the query planner recognizes the partial indexes.
_IS_ACTIVE = text("offers.state = 'active'")
_IS_BOUND = text("jobs.state = 'submitted' AND jobs.offer_id IS NOT NULL")
_by_id = select(*_COLUMNS).where(offers.c.offer_id == bindparam("key"))
_reserve = (
    update(offers)
    .where(
        offers.c.offer_id == bindparam("key"),
        or_(offers.c.jobs_left.is_(None), offers.c.jobs_left > 0),
    )
    .values(jobs_left=offers.c.jobs_left - 1)  # NULL stays NULL
)
_give_back = (
    update(offers)
    .where(offers.c.offer_id == bindparam("key"), offers.c.jobs_left < offers.c.max_jobs)
    .values(jobs_left=offers.c.jobs_left + 1)
)


@dataclass(frozen=True, slots=True)
class Listed:
    """An offer and the evidence about its miner."""

    offer: Offer
    evidence: Evidence


def add(connection: Connection, offer: Offer) -> None:
    """Store a new offer."""
    values = {column.name: getattr(offer, column.name, None) for column in _COLUMNS}
    values |= {"min_gpu_memory": offer.promise.gpu_memory, "min_cpu_millis": offer.promise.cpu_millis}
    connection.execute(
        insert(offers), {**values, "kind": kind_of(offer.job_type), "state": offer.state.value}
    )


def find(connection: Connection, offer_id: str) -> Offer | None:
    """Return the offer, or None."""
    row = connection.execute(_by_id, {"key": offer_id}).one_or_none()
    return None if row is None else _offer(row)


def lock(connection: Connection, offer_id: str) -> Offer | None:
    """Return the offer, or None. No other transaction changes it until this one ends."""
    row = connection.execute(_by_id.with_for_update(key_share=True), {"key": offer_id}).one_or_none()
    return None if row is None else _offer(row)


def save(connection: Connection, offer_id: str, *, price: int, state: OfferState) -> None:
    """Change an offer's price or state."""
    connection.execute(
        update(offers).where(offers.c.offer_id == offer_id).values(price=price, state=state.value)
    )


def reserve(connection: Connection, offer_id: str) -> bool:
    """Use one of the jobs that are left. Return False, changing nothing, if there is none."""
    return connection.execute(_reserve, {"key": offer_id}).rowcount == 1


def give_back(connection: Connection, offer_id: str) -> None:
    """Return a job to the offer's capacity that was not completed under it."""
    connection.execute(_give_back, {"key": offer_id})


def standing(connection: Connection, miner_id: str) -> dict[str, Offer]:
    """Return a miner's standing offers by service, including withdrawn ones."""
    query = select(*_COLUMNS).where(offers.c.miner_id == miner_id, offers.c.service.is_not(None))
    return {row.service: _offer(row) for row in connection.execute(query)}


def count_open(connection: Connection, miner_id: str) -> int:
    """Return how many of the offers that the miner has made are active."""
    # Standing offers have no limit. This condition avoids reading ended offers, whose number only grows.
    made = offers.c.max_jobs.is_not(None)
    query = select(func.count()).where(offers.c.miner_id == miner_id, made, _IS_ACTIVE)
    return int(connection.execute(query.select_from(offers)).scalar_one())


def available(
    connection: Connection,
    *,
    kind: str | None,
    max_price: int | None,
    limit: int,
    now: float,
    seen_after: float,
) -> list[Listed]:
    """Return offers that can be accepted now, the cheapest first: those of miners that are online and not paused."""
    conditions: list[ColumnElement[bool]] = [
        or_(offers.c.expires_at.is_(None), offers.c.expires_at > now),
        or_(offers.c.jobs_left.is_(None), offers.c.jobs_left > 0),
        miners.c.seen_at >= seen_after,
        miners.c.paused.is_(None),
    ]
    if kind is not None:
        conditions.append(offers.c.kind == kind)
    if max_price is not None:
        conditions.append(offers.c.price <= max_price)
    query = (
        select(*_COLUMNS, miner_stats.c.good, miner_stats.c.bad, miner_stats.c.evidence_at)
        .join(miners, miners.c.miner_id == offers.c.miner_id)
        .outerjoin(miner_stats, miner_stats.c.miner_id == offers.c.miner_id)
        .where(_IS_ACTIVE, *conditions)
        .order_by(offers.c.price, offers.c.offer_id)
        .limit(limit)
    )
    return [
        Listed(_offer(row), NOTHING if row.good is None else Evidence(row.good, row.bad, row.evidence_at))
        for row in connection.execute(query)
    ]


def of_miner(connection: Connection, miner_id: str, *, limit: int, before: str | None) -> list[Offer]:
    """Return a miner's offers in any state, newest first, before the id `before`."""
    conditions = [offers.c.miner_id == miner_id]
    if before is not None:
        conditions.append(offers.c.offer_id < before)
    query = select(*_COLUMNS).where(*conditions).order_by(offers.c.offer_id.desc()).limit(limit)
    return [_offer(row) for row in connection.execute(query)]


def open_of_miner(connection: Connection, miner_id: str) -> list[Offer]:
    """Return a miner's active offers, including standing ones."""
    query = select(*_COLUMNS).where(_IS_ACTIVE, offers.c.miner_id == miner_id)
    return [_offer(row) for row in connection.execute(query)]


def bound_to(connection: Connection, miner_id: str) -> list[JobRecord]:
    """Return the jobs that wait for an offer of the miner."""
    offered = select(offers.c.offer_id).where(offers.c.miner_id == miner_id)
    query = select(jobs.c.job_id).where(_IS_BOUND, jobs.c.offer_id.in_(offered))
    return lock_waiting(connection, connection.scalars(query).all())


def lock_waiting(connection: Connection, job_ids: Sequence[str]) -> list[JobRecord]:
    """Return those of these jobs that still wait for an offer. No other transaction changes them until this one ends."""
    found = lock_many(connection, job_ids).values()
    return [
        record for record in found if record.offer_id is not None and record.life.state is JobState.SUBMITTED
    ]


def any_expired(connection: Connection, now: float) -> bool:
    """Return whether `lock_expired` would find any offer."""
    return connection.execute(_expired(now).limit(1)).first() is not None


def lock_expired(connection: Connection, now: float, limit: int = 1000) -> list[Offer]:
    """Return active offers that have expired, without those that another transaction is changing."""
    locked = _expired(now).limit(limit).with_for_update(key_share=True, skip_locked=True)
    return [_offer(row) for row in connection.execute(locked)]


def _expired(now: float) -> Select[*tuple[Any, ...]]:
    return select(*_COLUMNS).where(_IS_ACTIVE, offers.c.expires_at <= now)


def stranded(
    connection: Connection, seen_before: float, known: Unfinished | None = None, limit: int = 1000
) -> Sequence[str]:
    """Return the ids of jobs that wait for an offer's miner in vain.

    The miner was last seen before `seen_before`; or it is paused and the offer has ended or is a standing one; or it no longer has
    the service of the standing offer.
    """
    ended = offers.c.state != OfferState.ACTIVE.value
    is_standing = offers.c.service.is_not(None)
    away = or_(
        miners.c.seen_at < seen_before,
        and_(miners.c.paused.is_not(None), or_(ended, is_standing)),
        and_(is_standing, ended),
    )
    is_bound = (*in_state(connection, JobState.SUBMITTED, known), jobs.c.offer_id.is_not(None))
    bound = select(jobs.c.offer_id).where(*is_bound).distinct().subquery()
    lost = (
        select(offers.c.offer_id)
        .join(bound, bound.c.offer_id == offers.c.offer_id)
        .join(miners, miners.c.miner_id == offers.c.miner_id)
        .where(away)
    )
    return connection.scalars(
        select(jobs.c.job_id).where(*is_bound, jobs.c.offer_id.in_(lost)).limit(limit)
    ).all()


def event_of(offer: Offer, now: float) -> NewEvent:
    """Return the event that reports an offer to all subscribers."""
    data: dict[str, Any] = {
        "kind": "offer",
        "offer_id": offer.offer_id,
        "miner_id": offer.miner_id,
        "job_type": offer.job_type,
        "price": format_money(from_units(offer.price)),
        "status": offer.status(now),
        "timestamp": format_time(now),
    }
    return NewEvent("marketplace_update", data)


def _offer(row: Row[*tuple[Any, ...]]) -> Offer:
    return Offer(
        offer_id=row.offer_id,
        miner_id=row.miner_id,
        job_type=row.job_type,
        price=row.price,
        max_jobs=row.max_jobs,
        jobs_left=row.jobs_left,
        promise=Promise(row.min_gpu_memory, row.min_cpu_millis),
        created_at=row.created_at,
        expires_at=row.expires_at,
        state=OfferState(row.state),
        service=row.service,
    )
