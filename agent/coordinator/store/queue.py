"""The jobs that wait for a miner."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, Integer, Row, and_, bindparam, or_, select, text

from agent.coordinator.store import counts
from agent.coordinator.store.concurrency import is_concurrent
from agent.coordinator.store.jobs import JobRecord
from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.schema.tables import job_counts, jobs, recent_job_counts, runs
from agent.coordinator.store.unfinished import UnfinishedRows
from agent.core.jobs import JobState, Outcome
from agent.core.matching import UNRESTRICTED, Candidate, Restrictions, Waiting
from agent.core.values.quantities import from_units, to_units
from runners.errors import FailureCode

CLAIM_WINDOW: Final = 512
"""How many waiting jobs one round of matching considers from each end: the most urgent and the oldest."""
ACCOUNT_WINDOW: Final = 64
"""Maximum number of one account's jobs among them, in a queue that is longer than the window."""
SAMPLE: Final = 2000
"""Maximum number of waiting jobs that `sample` returns."""

MAX_CONDITIONS: Final = 16
"""Maximum number of conditions on what miners can run, in the query for the jobs of a service."""
MAX_NAMES: Final = 10_000
"""Maximum number of miners that such a query names, besides what they can run."""


class _Claimable(NamedTuple):
    """What matching needs of a waiting job: columns of its row, in this order. `waiting_job` reads the same from its record."""

    job_id: str
    account_id: str
    service: str
    model: str | None
    priority: int
    created_at: float
    cpu_millis: int
    memory: int
    gpus: int
    max_cost: int
    agreed_price: int | None
    requested_miner_id: str | None
    needs: str | None
    restrictions: str | None
    avoid_miner_id: str | None
    avoid_until: float | None
    failure_code: str | None


_claim_columns = tuple(jobs.c[name] for name in _Claimable._fields)
# The last three columns are those of the job's life.
_of_record = attrgetter(*_Claimable._fields[:-3])
# With literal conditions the query planner recognizes the partial indexes.
_IS_CLAIMABLE = text("state = 'submitted' AND missing_files IS NULL")
_IS_WAITING = text("state = 'submitted' AND count > 0")
_HAS_QUEUED = text("state = 'submitted' AND change > 0")
_urgency = (jobs.c.priority.desc(), jobs.c.job_id)
_urgent = Prepared(
    select(*_claim_columns).where(_IS_CLAIMABLE).order_by(*_urgency).limit(bindparam("window", type_=Integer))
)
_known_waiting = UnfinishedRows(jobs.c.missing_files, *_claim_columns)


def waiting(connection: Connection, candidates: Sequence[Candidate]) -> list[Waiting]:
    """Return claimable jobs, as many as one round of matching considers.

    From a long queue, return only jobs that some candidate could run: the most urgent few of each account, and the oldest. So no
    client's backlog hides other clients' jobs, and ageing reaches the end of the queue. Both are found along an index, service by
    service, so that the time does not grow with the queue.
    """
    rows = _claimable(connection)
    # All claimable jobs are here: choosing among them by further queries would only cost time.
    if len(rows) < CLAIM_WINDOW:
        return [_waiting(row) for row in rows]
    conditions = _conditions(candidates)
    jobs_by_id: dict[str, Waiting] = {}
    for service, fitting in conditions.items():
        # Each service gets its share, so that jobs of a busy one never keep those of another from being seen.
        window = CLAIM_WINDOW // len(conditions)
        urgent = _urgent_of_accounts(connection, service, fitting, window)
        oldest = (
            select(*_claim_columns)
            .where(_IS_CLAIMABLE, jobs.c.service == service, fitting)
            .order_by(jobs.c.job_id)
            .limit(window)
        )
        for row in (*urgent, *connection.execute(oldest)):
            jobs_by_id[row.job_id] = _waiting(row)
    return list(jobs_by_id.values())


def _claimable(connection: Connection) -> list[tuple[Any, ...]]:
    """Return all claimable jobs, or the most urgent ones of at least `CLAIM_WINDOW`."""
    rows = _known_waiting.of(connection, JobState.SUBMITTED)
    if rows is None or len(rows) >= CLAIM_WINDOW:
        return _urgent.rows(connection, {"window": CLAIM_WINDOW})
    return [row[1:] for row in rows if row[0] is None]


def _urgent_of_accounts(
    connection: Connection, service: str, fitting: ColumnElement[bool], window: int
) -> Sequence[Row[*tuple[Any, ...]]]:
    """Return the most urgent jobs of each account that waits for a service, of at most `window` accounts."""
    accounts = select(job_counts.c.account_id).where(job_counts.c.service == service, _IS_WAITING)
    if is_concurrent(connection):
        # An account that waits has a positive number in one of both tables. For one that has only that, no job is found.
        recent = recent_job_counts.c
        queued = select(recent.account_id).where(recent.service == service, _HAS_QUEUED, counts.IS_RECENT)
        accounts = select(accounts.union(queued).subquery().c.account_id)
    accounts = accounts.order_by(accounts.selected_columns.account_id).limit(window)
    count = len(connection.execute(accounts).all())
    if not count:
        return []
    account = accounts.subquery()
    best = (
        select(jobs.c.job_id)
        .where(_IS_CLAIMABLE, jobs.c.service == service, jobs.c.account_id == account.c.account_id, fitting)
        .order_by(*_urgency)
        .limit(min(ACCOUNT_WINDOW, max(1, window // count)))
        .correlate(account)
    )
    chosen = jobs.alias()
    columns = [chosen.c[column.name] for column in _claim_columns]
    return connection.execute(select(*columns).join(account, chosen.c.job_id.in_(best))).all()


@dataclass(frozen=True, slots=True)
class _Limits:
    """The limits of what a candidate can run of a service: jobs with any model, or with that of a running batch only."""

    memory: int
    cpu_millis: int
    gpus: int
    price: int
    unavailable: frozenset[str]
    model: str | None = None
    any_model: bool = True

    def covers(self, limits: _Limits) -> bool:
        """Return whether it can run what the other can run."""
        return (
            self.memory >= limits.memory
            and self.cpu_millis >= limits.cpu_millis
            and self.gpus >= limits.gpus
            and self.price <= limits.price
            and (self.any_model or (not limits.any_model and self.model == limits.model))
            and self.unavailable <= limits.unavailable
        )

    def with_(self, limits: _Limits) -> _Limits:
        """Return limits that cover both."""
        return _Limits(
            max(self.memory, limits.memory),
            max(self.cpu_millis, limits.cpu_millis),
            max(self.gpus, limits.gpus),
            min(self.price, limits.price),
            self.unavailable & limits.unavailable,
        )

    def size(self) -> tuple[bool, int, int, int, int]:
        """Return a sort key by which limits come after all that they cover."""
        return self.any_model, self.memory, self.cpu_millis, self.gpus, -self.price

    def condition(self) -> ColumnElement[bool]:
        """Return the condition that a job can run there."""
        conditions = [
            jobs.c.memory <= self.memory,
            jobs.c.cpu_millis <= self.cpu_millis,
            jobs.c.gpus <= self.gpus,
            or_(jobs.c.agreed_price.is_not(None), jobs.c.max_cost >= self.price),
        ]
        if self.unavailable:
            conditions.append(or_(jobs.c.model.is_(None), jobs.c.model.not_in(sorted(self.unavailable))))
        if not self.any_model:
            conditions.append(jobs.c.model.is_not_distinct_from(self.model))
        return and_(*conditions)


def _conditions(candidates: Sequence[Candidate]) -> dict[str, ColumnElement[bool]]:
    """Return, by service, the condition that some candidate could run a job. The matching itself is more precise."""
    by_service: defaultdict[str, dict[_Limits, list[str]]] = defaultdict(dict)
    for candidate in candidates:
        for service, limits in _limits_of(candidate):
            by_service[service].setdefault(limits, []).append(candidate.miner_id)
    return {service: _any_of(miners) for service, miners in by_service.items()}


def _limits_of(candidate: Candidate) -> Iterator[tuple[str, _Limits]]:
    any_model = candidate.slots > 0
    batches = [(service, None) for service in candidate.services] if any_model else candidate.batch_capacity
    for service, model in batches:
        if (offer := candidate.services.get(service)) is not None:
            yield (
                service,
                _Limits(
                    candidate.memory,
                    int(candidate.cpu_cores * 1000),
                    min(candidate.gpus, offer.gpus),
                    to_units(offer.unit_price),
                    offer.unavailable_models,
                    model,
                    any_model,
                ),
            )


def _any_of(miners: Mapping[_Limits, Sequence[str]]) -> ColumnElement[bool]:
    """Return the condition that one of these miners can run a job, which has chosen none of the others. The keys are their limits.

    Limits that others cover add nothing. If many are left, the last ones become one that covers them.
    """
    largest: list[_Limits] = []
    for limits in sorted(miners, key=_Limits.size, reverse=True):
        if any(larger.covers(limits) for larger in largest):
            continue
        if len(largest) < MAX_CONDITIONS:
            largest.append(limits)
        else:
            largest[-1] = largest[-1].with_(limits)
    can_run = or_(*(limits.condition() for limits in largest))
    names = [miner_id for miner_ids in miners.values() for miner_id in miner_ids]
    # Then jobs for other miners are read too, and matching leaves them out.
    if len(names) > MAX_NAMES:
        return can_run
    return and_(or_(jobs.c.requested_miner_id.is_(None), jobs.c.requested_miner_id.in_(names)), can_run)


def _waiting(row: Iterable[Any]) -> Waiting:
    """Return a waiting job from a row of `_claim_columns`."""
    job = _Claimable._make(row)
    # An expired lease says that the miner was away, not that the job fails there.
    failed_there = job.failure_code not in (None, FailureCode.LEASE_EXPIRED)
    return Waiting(
        job_id=job.job_id,
        account_id=job.account_id,
        service=job.service,
        model=job.model,
        priority=job.priority,
        submitted_at=job.created_at,
        cpu=Decimal(job.cpu_millis) / 1000,
        memory=job.memory,
        gpus=job.gpus,
        budget=None if job.agreed_price is not None else from_units(job.max_cost),
        miner_id=job.requested_miner_id,
        avoid_miner_id=job.avoid_miner_id,
        avoid_until=job.avoid_until or 0.0,
        needs=() if job.needs is None else parse_needs(job.needs),
        failed_on=frozenset({job.avoid_miner_id}) if failed_there and job.avoid_miner_id else frozenset(),
        restrictions=UNRESTRICTED if job.restrictions is None else parse_restrictions(job.restrictions),
    )


@lru_cache(maxsize=1024)
def parse_needs(needs: str) -> tuple[tuple[str, str], ...]:
    """Return the features that a job needs, from the text that its row has."""
    return tuple((name, value) for name, value in json.loads(needs))


def format_restrictions(restrictions: Restrictions) -> str | None:
    """Return the text that a job's row has for its restrictions, None without any."""
    values = {
        "audit": restrictions.audit,
        "audited": restrictions.audited,
        "excluded": sorted(restrictions.excluded),
        "min_reputation": restrictions.min_reputation,
        "canary": restrictions.canary,
    }
    effective = {name: value for name, value in values.items() if value}
    return json.dumps(effective, separators=(",", ":")) if effective else None


@lru_cache(maxsize=1024)
def parse_restrictions(text: str) -> Restrictions:
    """Return the restrictions of a job from the text that its row has."""
    values = json.loads(text)
    return Restrictions(**{**values, "excluded": frozenset(values.get("excluded", ()))})


def restrictions_of(record: JobRecord) -> Restrictions:
    """Return the restrictions of a job."""
    return UNRESTRICTED if record.restrictions is None else parse_restrictions(record.restrictions)


def waiting_job(record: JobRecord) -> Waiting:
    """Return a job as the matching sees it."""
    life = record.life
    code = None if life.failure is None else life.failure.code
    return _waiting((*_of_record(record), life.avoid_miner_id, life.avoid_until, code))


_sample = Prepared(select(*_claim_columns).where(_IS_CLAIMABLE).order_by(*_urgency).limit(SAMPLE))


def sample(connection: Connection) -> list[Waiting]:
    """Return claimable jobs, the most urgent ones of a long queue."""
    return [_waiting(row) for row in _sample.rows(connection)]


def failed_on(connection: Connection, job_ids: Sequence[str]) -> dict[str, frozenset[str]]:
    """Return the miners on which each of these jobs has failed."""
    failed: defaultdict[str, set[str]] = defaultdict(set)
    query = select(runs.c.job_id, runs.c.miner_id).where(
        runs.c.job_id.in_(job_ids), runs.c.outcome == Outcome.RETRIED.value
    )
    for job_id, miner_id in connection.execute(query):
        failed[job_id].add(miner_id)
    return {job_id: frozenset(miner_ids) for job_id, miner_ids in failed.items()}
