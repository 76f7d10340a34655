"""Which miner gets which job.

Jobs are matched by priority, which grows with waiting time so that no job starves. Jobs of equal priority are shared fairly
between clients. Each job goes to the cheapest miner that can start it at once and has free capacity.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from heapq import heapify, heappop, heappush
from typing import Any, Final, TypeAlias

from agent.core.reasons import ReasonCode

AGEING_SECONDS: Final = 60.0
"""Waiting time that raises a job by one level: a job of priority 0 overtakes a new one of priority 9 after 10 minutes."""


AUDITS: Final = "audits"
"""Feature of a service that checks the work of other miners."""
AUDITS_ONLY: Final = "audits_only"
"""Feature of a service that does nothing else."""

Batch = tuple[str, str | None]
"""Jobs of one service and model, which a miner may compute together."""


@dataclass(frozen=True, slots=True)
class ServiceOffer:
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

    It has `slots` free slots and free `batch_capacity` in running batches. `limit` is the maximum number of jobs that it gets
    in this round, even if it has more free capacity; `capacity` is how many jobs it announces to run at the same time.
    `reputation` is from 0 to 5.
    """

    miner_id: str
    session: int
    slots: int
    services: Mapping[str, ServiceOffer]
    cpu_cores: Decimal = Decimal(1)
    memory: int = 0
    gpus: int = 0
    capacity: int = 256
    batch_capacity: Mapping[Batch, int] = field(default_factory=dict)
    limit: int | None = None
    reputation: float = 3.0


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
            self.batch_capacity[batch] += self._concurrency.get(service, 1) - 1
        else:
            return False
        if not self.batch_capacity[batch]:
            del self.batch_capacity[batch]
        return True


class _Share:
    """A candidate, and the capacity that is left of it in this round."""

    def __init__(self, candidate: Candidate) -> None:
        concurrency = {service: offer.concurrency for service, offer in candidate.services.items()}
        self.candidate = candidate
        self.free = FreeCapacity(candidate.slots, candidate.batch_capacity, concurrency)
        self.given = 0
        self.rankings: list[_Ranking] = []

    @property
    def open(self) -> bool:
        """Whether it can be given another job."""
        limit = self.candidate.limit
        return bool(self.free) and (limit is None or self.given < limit)

    def suits(self, job: Waiting, now: float) -> bool:
        """Return whether it can be given this job."""
        return self.free.accepts(job.service, job.model) and fits(job, self.candidate, now)

    def give(self, job: Waiting) -> None:
        """Give it a job that suits it."""
        self.free.reserve(job.service, job.model)
        self.given += 1
        for ranking in self.rankings:
            ranking.add(self)


class _Ranking:
    """The shares that suit jobs of one kind, the best first.

    Within a round, no share begins to suit a job: batch capacity only appears where a free slot was. So one search serves all jobs of
    the kind. A share that is given a job moves: it is added again, and entries with an outdated preference are dropped.
    """

    def __init__(self, job: Waiting, shares: Iterable[_Share], now: float) -> None:
        self._job = job
        self._heap: list[tuple[_Preference, int, _Share]] = []
        for share in shares:
            if share.open and share.suits(job, now):
                self._heap.append((_preference(job, share), len(self._heap), share))
                share.rankings.append(self)
        heapify(self._heap)
        self._added = len(self._heap)

    def add(self, share: _Share) -> None:
        """Add a share with its present preference, if it can be given more."""
        if share.open and share.free.accepts(self._job.service, self._job.model):
            heappush(self._heap, (_preference(self._job, share), self._added, share))
            self._added += 1

    def best(self) -> _Share | None:
        """Return the share that a job of this kind gets, or None."""
        job = self._job
        while self._heap:
            preference, _, share = self._heap[0]
            if (
                share.open
                and share.free.accepts(job.service, job.model)
                and preference == _preference(job, share)
            ):
                return share
            heappop(self._heap)
        return None


def match(
    jobs: Iterable[Waiting],
    candidates: Sequence[Candidate],
    running: Mapping[str, int],
    now: float,
    limits: Mapping[str, int] | None = None,
) -> list[tuple[str, Candidate]]:
    """Return pairs of job id and miner, best first. `running` counts the running jobs of each account.

    `limits` has the maximum number of running jobs of accounts that are limited. A job avoids the miner that failed it last
    while another suitable miner is waiting.
    """
    jobs = list(jobs)
    services = {job.service for job in jobs}
    shares = [
        share
        for candidate in candidates
        if not services.isdisjoint(candidate.services) and (share := _Share(candidate)).open
    ]
    load = Counter(running)
    pairs: list[tuple[str, Candidate]] = []
    if not shares:
        return pairs
    prices = _prices(shares) if len(jobs) > 1 else {}
    alike = Counter(_kind(job, prices) for job in jobs)
    rankings: dict[Hashable, _Ranking] = {}
    left = len(shares)
    for job in in_turn(jobs, load, now, limits):
        kind = _kind(job, prices)
        if alike[kind] == 1:
            best = _best(job, shares, now)
        else:
            if kind not in rankings:
                rankings[kind] = _Ranking(job, shares, now)
            best = rankings[kind].best()
        if best is None:
            continue
        best.give(job)
        load[job.account_id] += 1
        pairs.append((job.job_id, best.candidate))
        left -= not best.open
        if not left:
            break
    return pairs


def _best(job: Waiting, shares: Iterable[_Share], now: float) -> _Share | None:
    suitable = (share for share in shares if share.open and share.suits(job, now))
    return min(suitable, key=lambda share: _preference(job, share), default=None)


def _prices(shares: Iterable[_Share]) -> dict[str, list[Decimal]]:
    """Return the prices of each service, lowest first."""
    found: defaultdict[str, set[Decimal]] = defaultdict(set)
    for share in shares:
        for service, offer in share.candidate.services.items():
            found[service].add(offer.unit_price)
    return {service: sorted(prices) for service, prices in found.items()}


def _kind(job: Waiting, prices: Mapping[str, Sequence[Decimal]]) -> Hashable:
    """Return all that decides which miners suit a job, and in which order. Of its budget, that is which prices it covers."""
    return (
        None if job.budget is None else bisect_right(prices.get(job.service, ()), job.budget),
        job.service,
        job.model,
        job.cpu,
        job.memory,
        job.gpus,
        job.miner_id,
        job.avoid_miner_id,
        job.avoid_until,
        job.needs,
        job.avoided,
        job.restrictions,
    )


def in_turn(
    jobs: Iterable[Waiting], load: Counter[str], now: float, limits: Mapping[str, int] | None = None
) -> Iterator[Waiting]:
    """Yield jobs in the order in which miners are sought for them, without those of accounts that have reached their limit.

    `load` counts the running jobs of each account. The caller adds the jobs that it assigns before it requests the next one.
    """
    limits = limits or {}
    levels: dict[int, list[Waiting]] = {}
    for job in jobs:
        levels.setdefault(_level(job, now), []).append(job)
    for level in sorted(levels, reverse=True):
        queue = _by_account(levels[level])
        while queue:
            account = min(
                queue, key=lambda name: (load[name], queue[name][0].submitted_at, queue[name][0].job_id)
            )
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


_Preference: TypeAlias = tuple[bool, bool, Decimal, bool, bool, int, str]


def _preference(job: Waiting, share: _Share) -> _Preference:
    """Return the sort key of a miner for a job; the smallest wins. Price decides, unless the job would wait for a download.

    Among equal prices, joining a running batch saves a slot, and a loaded model saves the time to load it.
    """
    candidate = share.candidate
    offer = candidate.services[job.service]
    model = job.model
    return (
        candidate.miner_id == job.avoid_miner_id,
        model is not None and model not in offer.models and model not in offer.loaded,
        offer.unit_price,
        not share.free.joins(job.service, model),
        model is not None and model not in offer.loaded,
        -share.free.slots,
        candidate.miner_id,
    )


def fits(job: Waiting, candidate: Candidate, now: float) -> bool:
    """Return whether the miner can run the job now, apart from its free capacity."""
    return next(obstacles(job, candidate, now), None) is None


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
    if job.gpus > min(candidate.gpus, offer.gpus):
        yield ReasonCode.NOT_ENOUGH_GPUS
    avoided = job.avoid_miner_id == candidate.miner_id and now < job.avoid_until
    if avoided or candidate.miner_id in job.avoided:
        yield ReasonCode.FAILED_THERE


def _of_service(job: Waiting, offer: ServiceOffer) -> Iterator[ReasonCode]:
    if job.budget is not None and job.budget < offer.unit_price:
        yield ReasonCode.PRICE_ABOVE_MAX_COST
    if not all(has_feature(offer, name, value) for name, value in job.needs):
        yield ReasonCode.FEATURE_MISSING
    if job.model is not None:
        if job.model in offer.unavailable_models:
            yield ReasonCode.MODEL_UNAVAILABLE
        elif job.model not in offer.models and not offer.downloadable:
            yield ReasonCode.MODEL_MISSING
    if offer.paused is not None:
        yield ReasonCode.SERVICE_PAUSED


def audits(offer: ServiceOffer) -> bool:
    """Return whether the service checks the work of other miners. Unlike other features, this one must be reported."""
    return offer.features.get(AUDITS) is True


def has_feature(offer: ServiceOffer, name: str, value: str) -> bool:
    """Return whether the service has a feature of its engine. A miner that does not report the feature is believed to have it."""
    known = offer.features.get(name)
    if isinstance(known, bool):
        return known
    return value in known if isinstance(known, list | dict) else True
