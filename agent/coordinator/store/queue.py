"""The jobs that wait for a miner."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, and_, false, func, or_, select, text

from agent.coordinator.store.tables import jobs
from agent.core.matching import Candidate, ServiceOffer, Waiting
from agent.core.quantities import from_units, to_units

CLAIM_WINDOW: Final = 512
"""How many waiting jobs one round of matching looks at, from each end: the most urgent and the oldest."""
ACCOUNT_WINDOW: Final = 64
"""How many of them may be one account's, in a queue that is longer than the window."""

_claim_columns = (
    jobs.c.job_id, jobs.c.account_id, jobs.c.service, jobs.c.model, jobs.c.priority, jobs.c.created_at, jobs.c.cpu_millis,
    jobs.c.memory, jobs.c.gpus, jobs.c.max_cost, jobs.c.agreed_price, jobs.c.requested_miner_id, jobs.c.avoid_miner_id,
    jobs.c.avoid_until,
)  # fmt: skip
# Literal conditions let the planner see that the partial indexes fit.
_IS_CLAIMABLE = text("state = 'submitted' AND missing_files IS NULL")
_IS_ANYBODYS = text(
    "state = 'submitted' AND missing_files IS NULL AND requested_miner_id IS NULL AND model IS NOT NULL"
)
_urgency = (jobs.c.priority.desc(), jobs.c.job_id)
_urgent = select(*_claim_columns).where(_IS_CLAIMABLE).order_by(*_urgency).limit(CLAIM_WINDOW)
_models_waited_for = (
    select(jobs.c.service, jobs.c.model)
    .where(_IS_ANYBODYS)
    .group_by(jobs.c.service, jobs.c.model)
    .order_by(func.count().desc(), jobs.c.service, jobs.c.model)
)


def waiting(connection: Connection, candidates: Sequence[Candidate]) -> list[Waiting]:
    """Jobs that can be claimed, as many as one round of matching looks at.

    In a long queue only those that some candidate could take are looked at, of each account the most urgent few, and
    the oldest ones too: so nobody's backlog hides other clients' jobs, and ageing reaches the back of the queue.
    """
    rows = {row.job_id: row for row in connection.execute(_urgent)}
    if len(rows) < CLAIM_WINDOW:
        return [_waiting(row) for row in rows.values()]
    fitting = _fitting(candidates)
    place = func.row_number().over(partition_by=jobs.c.account_id, order_by=_urgency).label("place")
    ranked = select(jobs.c.job_id, jobs.c.priority, place).where(_IS_CLAIMABLE, fitting).subquery()
    fair = (
        select(*_claim_columns)
        .join(ranked, ranked.c.job_id == jobs.c.job_id)
        .where(ranked.c.place <= ACCOUNT_WINDOW)
        .order_by(ranked.c.place, *_urgency)
        .limit(CLAIM_WINDOW)
    )
    oldest = select(*_claim_columns).where(_IS_CLAIMABLE, fitting).order_by(jobs.c.job_id).limit(CLAIM_WINDOW)
    found = {row.job_id: row for query in (fair, oldest) for row in connection.execute(query)}
    return [_waiting(row) for row in found.values()]


def _fitting(candidates: Sequence[Candidate]) -> ColumnElement[bool]:
    """What at least one candidate could take; the matching itself looks closer."""
    return or_(
        *(
            and_(
                _has_place(candidate),
                jobs.c.gpus <= candidate.gpus,
                jobs.c.memory <= candidate.memory,
                jobs.c.cpu_millis <= int(candidate.cpu_cores * 1000),
                or_(jobs.c.requested_miner_id.is_(None), jobs.c.requested_miner_id == candidate.miner_id),
            )
            for candidate in candidates
        )
    )


def _has_place(candidate: Candidate) -> ColumnElement[bool]:
    if candidate.slots > 0:
        places = [_takes(service, offer) for service, offer in candidate.services.items()]
    else:
        places = [
            and_(_takes(service, candidate.services[service]), jobs.c.model.is_not_distinct_from(model))
            for service, model in candidate.seats
            if service in candidate.services
        ]
    return or_(false(), *places)


def _takes(service: str, offer: ServiceOffer) -> ColumnElement[bool]:
    withheld = [or_(jobs.c.model.is_(None), jobs.c.model.not_in(offer.withheld))] if offer.withheld else []
    affordable = or_(jobs.c.agreed_price.is_not(None), jobs.c.max_cost >= to_units(offer.unit_price))
    return and_(jobs.c.service == service, affordable, *withheld)


def _waiting(row: Row[*tuple[Any, ...]]) -> Waiting:
    return Waiting(
        job_id=row.job_id,
        account_id=row.account_id,
        service=row.service,
        model=row.model,
        priority=row.priority,
        submitted_at=row.created_at,
        cpu=Decimal(row.cpu_millis) / 1000,
        memory=row.memory,
        gpus=row.gpus,
        budget=None if row.agreed_price is not None else from_units(row.max_cost),
        miner_id=row.requested_miner_id,
        avoid_miner_id=row.avoid_miner_id,
        avoid_until=row.avoid_until or 0.0,
    )


def models_waited_for(connection: Connection, limit: int) -> list[tuple[str, str]]:
    """Services and models of jobs that any miner may take, those with the most such jobs first."""
    return [(row.service, row.model) for row in connection.execute(_models_waited_for.limit(limit))]
