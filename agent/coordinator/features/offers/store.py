"""Offers and the jobs that were given to them: rows, capacity, and which offers are currently available."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from agent.coordinator.features.offers.rules import Offer, OfferState, Promise, kind_of
from agent.coordinator.features.offers.tables import offer_jobs, offers
from agent.coordinator.store.events import NewEvent
from agent.coordinator.store.job_lists import Narrowing
from agent.coordinator.store.jobs import JobRecord, lock_many
from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.schema.tables import jobs, miners
from agent.coordinator.store.unfinished import in_state
from agent.core.jobs import JobState
from agent.core.values.quantities import format_time, format_units

_COLUMNS = (
    offers.c.offer_id, offers.c.miner_id, offers.c.job_type, offers.c.price, offers.c.max_jobs, offers.c.jobs_left,
    offers.c.min_gpu_memory, offers.c.min_cpu_millis, offers.c.created_at, offers.c.expires_at, offers.c.state,
    offers.c.service,
)  # fmt: skip
# With literal conditions the query planner recognizes the partial indexes.
_IS_ACTIVE = text("offers.state = 'active'")
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
_add_job = Prepared(insert(offer_jobs))
_of_job = Prepared(
    select(offer_jobs.c.job_id, offer_jobs.c.offer_id).where(offer_jobs.c.job_id == bindparam("key_of_job"))
)


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
    # A weaker lock is enough, and does not block rows that refer to the offer.
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
    is_offer_for_jobs = offers.c.max_jobs.is_not(None)
    query = select(func.count()).where(offers.c.miner_id == miner_id, is_offer_for_jobs, _IS_ACTIVE)
    return int(connection.execute(query.select_from(offers)).scalar_one())


def available(
    connection: Connection,
    *,
    kind: str | None,
    max_price: int | None,
    limit: int,
    now: float,
    seen_after: float,
) -> list[Offer]:
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
        select(*_COLUMNS)
        .join(miners, miners.c.miner_id == offers.c.miner_id)
        .where(_IS_ACTIVE, *conditions)
        .order_by(offers.c.price, offers.c.offer_id)
        .limit(limit)
    )
    return [_offer(row) for row in connection.execute(query)]


def of_miner(connection: Connection, miner_id: str, *, limit: int, before_id: str | None) -> list[Offer]:
    """Return a miner's offers in any state, newest first, before the id `before_id`."""
    conditions = [offers.c.miner_id == miner_id]
    if before_id is not None:
        conditions.append(offers.c.offer_id < before_id)
    query = select(*_COLUMNS).where(*conditions).order_by(offers.c.offer_id.desc()).limit(limit)
    return [_offer(row) for row in connection.execute(query)]


def open_offers(connection: Connection, miner_id: str) -> list[Offer]:
    """Return a miner's active offers, including standing ones."""
    query = select(*_COLUMNS).where(_IS_ACTIVE, offers.c.miner_id == miner_id)
    return [_offer(row) for row in connection.execute(query)]


def add_job(connection: Connection, record: JobRecord, offer_id: str) -> None:
    """Store the offer to which a job is given."""
    _add_job.run(connection, {"job_id": record.job_id, "offer_id": offer_id, "account_id": record.account_id})


def remove_job(connection: Connection, job_id: str) -> None:
    """Store that a job is no longer given to an offer."""
    forget(connection, (job_id,))


def forget(connection: Connection, job_ids: Sequence[str]) -> None:
    """Delete the offers of jobs."""
    connection.execute(delete(offer_jobs).where(offer_jobs.c.job_id.in_(job_ids)))


def of_jobs(connection: Connection, job_ids: Sequence[str]) -> dict[str, str]:
    """Return the ids of the offers of those jobs that have one, by job."""
    return dict(_of_job.rows_of(connection, "key_of_job", job_ids))


def of_job(connection: Connection, job_id: str) -> str | None:
    """Return the id of the job's offer, or None."""
    return of_jobs(connection, (job_id,)).get(job_id)


def narrowing(offer_id: str, account_id: str | None) -> Narrowing:
    """Return the condition that jobs were given to this offer. `account_id` None means the jobs of all accounts."""
    conditions = [offer_jobs.c.offer_id == offer_id]
    if account_id is not None:
        conditions.append(offer_jobs.c.account_id == account_id)
    return Narrowing(offer_jobs.c.job_id, tuple(conditions))


def any_expired(connection: Connection, now: float) -> bool:
    """Return whether `lock_expired` would find any offer."""
    return connection.execute(_expired(now).limit(1)).first() is not None


def lock_expired(connection: Connection, now: float, limit: int = 1000) -> list[Offer]:
    """Return active offers that have expired, without those that another transaction is changing."""
    # Offers that somebody accepts just now are skipped; they expire in the next round.
    locked = _expired(now).limit(limit).with_for_update(key_share=True, skip_locked=True)
    return [_offer(row) for row in connection.execute(locked)]


def _expired(now: float) -> Select[*tuple[Any, ...]]:
    return select(*_COLUMNS).where(_IS_ACTIVE, offers.c.expires_at <= now)


def stranded(connection: Connection, seen_before: float, limit: int = 1000) -> Sequence[str]:
    """Return the ids of jobs that wait for an offer's miner in vain.

    The miner was removed, or last seen before `seen_before`; or it is paused and the offer has ended or is a standing one; or it no
    longer has the service of the standing offer.
    """
    has_ended = offers.c.state != OfferState.ACTIVE.value
    is_standing = offers.c.service.is_not(None)
    is_away = or_(
        miners.c.removed_at.is_not(None),
        miners.c.seen_at < seen_before,
        and_(miners.c.paused.is_not(None), or_(has_ended, is_standing)),
        and_(is_standing, has_ended),
    )
    # Only jobs that were given to an offer have an agreed price. Few of them wait at a time, and a partial index has those.
    waits = (*in_state(connection, JobState.SUBMITTED), jobs.c.agreed_price.is_not(None))
    query = (
        select(jobs.c.job_id)
        .join(offer_jobs, offer_jobs.c.job_id == jobs.c.job_id)
        .join(offers, offers.c.offer_id == offer_jobs.c.offer_id)
        .join(miners, miners.c.miner_id == offers.c.miner_id)
        .where(*waits, is_away)
    )
    return connection.scalars(query.limit(limit)).all()


def lock_waiting(connection: Connection, job_ids: Sequence[str]) -> list[JobRecord]:
    """Return those of these jobs that still wait for an offer. No other transaction changes them until this one ends."""
    return [
        record
        for record in lock_many(connection, job_ids).values()
        if record.agreed_price is not None and record.life.state is JobState.SUBMITTED
    ]


def event_of(offer: Offer, now: float) -> NewEvent:
    """Return the event that reports an offer to all subscribers."""
    data: dict[str, Any] = {
        "kind": "offer",
        "offer_id": offer.offer_id,
        "miner_id": offer.miner_id,
        "job_type": offer.job_type,
        "price": format_units(offer.price),
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
