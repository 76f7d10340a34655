"""Which miners suit a job, and in which order jobs get miners.

Priority grows with waiting time, so that no job starves. Jobs of equal priority are shared fairly between clients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from aitbc.reasons import ReasonCode

AGEING_SECONDS: Final = 60.0
"""Waiting time that raises a job by one level: a job of priority 0 overtakes a new one of priority 9 after 10 minutes."""


NEUTRAL: Final = 3.0
"""The reputation of a miner about which nothing is known."""
AUDITS: Final = "audits"
"""Feature of a service that checks the work of other miners."""
AUDITS_ONLY: Final = "audits_only"
"""Feature of a service that does nothing else."""
OPTIONS: Final = "options"
"""Feature that lists the options of requests which a service knows besides those of agents of version 0.2."""

Batch = tuple[str, str | None]
"""Jobs of one service and model, which a miner may compute together."""


@dataclass(frozen=True, slots=True)
class CandidateService:
    """What a miner announces about one of its services.

    `downloadable`: models that are not on disk can be downloaded. `unavailable_models`: models that it does not accept now.
    `concurrency`: how many jobs of one model a slot computes together. `gpus`: how many GPUs one job can use. `features` are those
    of its engine; `paused` is why the service accepts no jobs now.
    """

    unit_price: Decimal
    models: frozenset[str] = frozenset()
    loaded: frozenset[str] = frozenset()
    downloadable: bool = False
    unavailable_models: frozenset[str] = frozenset()
    concurrency: int = 1
    gpus: int = 1
    features: Mapping[str, Any] = field(default_factory=dict)
    paused: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A miner that waits for work. Memory is in bytes, `gpus` a count.

    It has `slots` free slots and free `batch_capacity` in running batches; `capacity` is how many jobs it announces to run at the
    same time. `reputation` is from 0 to 5.
    """

    miner_id: str
    session: int
    slots: int
    services: Mapping[str, CandidateService]
    cpu_cores: Decimal = Decimal(1)
    memory: int = 0
    gpus: int = 0
    capacity: int = 256
    batch_capacity: Mapping[Batch, int] = field(default_factory=dict)
    reputation: float = NEUTRAL


@dataclass(frozen=True, slots=True)
class Restrictions:
    """Which miners may run a job, besides what it needs.

    `audit`: the job checks the work of another one. `audited`: the job itself is certainly audited. The miners in `excluded` never get
    the job. `canary` names the known answer of a job that the coordinator submitted itself.
    """

    audit: bool = False
    audited: bool = False
    excluded: frozenset[str] = frozenset()
    min_reputation: float = 0.0
    canary: str | None = None


UNRESTRICTED: Final = Restrictions()


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that waits for a miner. Times are seconds since the epoch, memory is in bytes.

    `budget` is the maximum cost, or None if the price is already agreed. `needs` are features of the miner's engine. The miners in
    `failed_on` failed the job; those in `avoided` do not get it now, because another miner can run it.
    """

    job_id: str
    account_id: str
    service: str
    model: str | None
    priority: int
    submitted_at: float
    cpu: Decimal = Decimal(0)
    memory: int = 0
    gpus: int = 0
    budget: Decimal | None = None
    miner_id: str | None = None
    avoid_miner_id: str | None = None
    avoid_until: float = 0.0
    needs: tuple[tuple[str, str], ...] = ()
    failed_on: frozenset[str] = frozenset()
    avoided: frozenset[str] = frozenset()
    restrictions: Restrictions = UNRESTRICTED


class FreeCapacity:
    """What a miner can still run: jobs that join running batches, and jobs that open a free slot.

    A job that opens a slot adds batch capacity for its service and model: the number of jobs that the service runs
    together, less one. `concurrency` is that number by service, 1 where it is missing.
    """

    def __init__(
        self, slots: int, batch_capacity: Mapping[Batch, int], concurrency: Mapping[str, int]
    ) -> None:
        self.slots = slots
        self.batch_capacity = Counter({batch: count for batch, count in batch_capacity.items() if count > 0})
        self._concurrency = concurrency

    def __bool__(self) -> bool:
        """Return whether there is any free capacity."""
        return self.slots > 0 or bool(self.batch_capacity)

    def joins(self, service: str, model: str | None) -> bool:
        """Return whether a batch of this service and model has free capacity."""
        return self.batch_capacity[service, model] > 0

    def accepts(self, service: str, model: str | None) -> bool:
        """Return whether `reserve` would succeed."""
        return self.slots > 0 or self.joins(service, model)

    def reserve(self, service: str, model: str | None) -> bool:
        """Reserve capacity for one job. Return False, changing nothing, if there is none."""
        batch = (service, model)
        if self.joins(service, model):
            self.batch_capacity[batch] -= 1
        elif self.slots > 0:
            self.slots -= 1
            # The job that opens the slot is one of those that run together.
            self.batch_capacity[batch] += self._concurrency.get(service, 1) - 1
        else:
            return False
        if not self.batch_capacity[batch]:
            del self.batch_capacity[batch]
        return True


def in_turn(
    jobs: Iterable[Waiting], load: Counter[str], now: float, limits: Mapping[str, int] | None = None
) -> Iterator[Waiting]:
    """Yield jobs in the order in which miners are sought for them, without those of accounts that have reached their limit.

    `load` counts the running jobs of each account. The caller adds the jobs that it assigns before it requests the next one.
    """
    limits = limits or {}
    levels: dict[int, list[Waiting]] = {}
    for job in jobs:
        # Levels first: priority decides before the account does.
        levels.setdefault(_level(job, now), []).append(job)
    for level in sorted(levels, reverse=True):
        queue = _by_account(levels[level])
        while queue:
            # Fairness is between accounts: the one with the fewest running jobs is next, so many jobs of one do not delay those of others.
            account = min(
                queue, key=lambda name: (load[name], queue[name][0].submitted_at, queue[name][0].job_id)
            )
            # The others of its jobs may still start in the next round, when one has ended.
            if load[account] >= limits.get(account, load[account] + 1):
                del queue[account]
                continue
            job = queue[account].pop(0)
            if not queue[account]:
                del queue[account]
            yield job


def _level(job: Waiting, now: float) -> int:
    return job.priority + int(max(0.0, now - job.submitted_at) / AGEING_SECONDS)


def _by_account(jobs: list[Waiting]) -> dict[str, list[Waiting]]:
    queue: dict[str, list[Waiting]] = {}
    for job in sorted(jobs, key=lambda job: (job.submitted_at, job.job_id)):
        queue.setdefault(job.account_id, []).append(job)
    return queue


def fits(job: Waiting, candidate: Candidate, now: float) -> bool:
    """Return whether the miner can run the job now, apart from its free capacity."""
    return next(obstacles(job, candidate, now), None) is None


def fits_at_any_price(job: Waiting, candidate: Candidate, now: float) -> bool:
    """Return whether the miner could run the job now if the client paid more."""
    return all(reason is ReasonCode.PRICE_ABOVE_MAX_COST for reason in obstacles(job, candidate, now))


def obstacles(job: Waiting, candidate: Candidate, now: float) -> Iterator[ReasonCode]:
    """Yield what prevents the miner from running the job, apart from its free capacity.

    A job that cannot pay for one metered unit does not fit, because the miner would be paid less than its price.
    """
    offer = candidate.services.get(job.service)
    if job.miner_id not in (None, candidate.miner_id):
        yield ReasonCode.NOT_CHOSEN
    restrictions = job.restrictions
    if candidate.miner_id in restrictions.excluded:
        yield ReasonCode.NOT_AN_AUDITOR
    if offer is None or (not restrictions.audit and offer.features.get(AUDITS_ONLY) is True):
        # What follows is about an offer, and there is none.
        yield ReasonCode.SERVICE_NOT_OFFERED
        return
    if restrictions.audit and not audits(offer):
        yield ReasonCode.NOT_AN_AUDITOR
    if candidate.reputation < restrictions.min_reputation:
        yield ReasonCode.REPUTATION_TOO_LOW
    yield from _of_service(job, offer)
    if job.cpu > candidate.cpu_cores:
        yield ReasonCode.NOT_ENOUGH_CPU
    if job.memory > candidate.memory:
        yield ReasonCode.NOT_ENOUGH_MEMORY
    # A machine may have more GPUs than the engine of this service can use together.
    if job.gpus > min(candidate.gpus, offer.gpus):
        yield ReasonCode.NOT_ENOUGH_GPUS
    avoided = job.avoid_miner_id == candidate.miner_id and now < job.avoid_until
    if avoided or candidate.miner_id in job.avoided:
        yield ReasonCode.FAILED_THERE


def _of_service(job: Waiting, offer: CandidateService) -> Iterator[ReasonCode]:
    if job.budget is not None and job.budget < offer.unit_price:
        yield ReasonCode.PRICE_ABOVE_MAX_COST
    if not all(has_feature(offer, name, value) for name, value in job.needs):
        yield ReasonCode.FEATURE_MISSING
    yield from model_obstacles(job.model, offer)


def model_obstacles(model: str | None, offer: CandidateService) -> Iterator[ReasonCode]:
    """Yield what prevents every job of the service with this model."""
    if model is not None:
        if model in offer.unavailable_models:
            yield ReasonCode.MODEL_UNAVAILABLE
        elif model not in offer.models and not offer.downloadable:
            yield ReasonCode.MODEL_MISSING
    if offer.paused is not None:
        yield ReasonCode.SERVICE_PAUSED


def audits(offer: CandidateService) -> bool:
    """Return whether the service checks the work of other miners. Unlike other features, this one must be reported."""
    return offer.features.get(AUDITS) is True


def has_feature(offer: CandidateService, name: str, value: str) -> bool:
    """Return whether the service has a feature of its engine. A miner that does not report the feature is believed to have it.

    Options are features that must be reported: an older agent, which knows no such report, would refuse the job.
    """
    of_feature = offer.features.get(name, [] if name == OPTIONS else None)
    if isinstance(of_feature, bool):
        return of_feature
    return value in of_feature if isinstance(of_feature, list | dict) else True
