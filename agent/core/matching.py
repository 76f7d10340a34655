"""Which miner gets which job.

Jobs are matched by priority, which grows with waiting time so that no job starves. Jobs of equal priority are shared fairly
between clients. Each job goes to the cheapest miner that can start it at once and has free capacity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

AGEING_SECONDS: Final = 60.0
"""Waiting time that raises a job by one level: a job of priority 0 overtakes a new one of priority 9 after 10 minutes."""


Batch = tuple[str, str | None]
"""Jobs of one service and model, which a miner may compute together."""


@dataclass(frozen=True, slots=True)
class ServiceOffer:
    """What a miner announces about one of its services.

    `downloadable`: models that are not on disk can be downloaded. `unavailable_models`: models that it does not accept now.
    `concurrency`: how many jobs of one model a slot computes together. `gpus`: how many GPUs one job can use.
    """

    unit_price: Decimal
    models: frozenset[str] = frozenset()
    loaded: frozenset[str] = frozenset()
    downloadable: bool = False
    unavailable_models: frozenset[str] = frozenset()
    concurrency: int = 1
    gpus: int = 1


@dataclass(frozen=True, slots=True)
class Candidate:
    """A miner that waits for work. Memory is in bytes, `gpus` a count.

    It has `slots` free slots and free `batch_capacity` in running batches. `limit` is the maximum number of jobs that it gets
    in this round, even if it has more free capacity; `capacity` is how many jobs it announces to run at the same time.
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


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that waits for a miner. Times are seconds since the epoch, memory is in bytes.

    `budget` is the maximum cost, or None if the price is already agreed.
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
    limits = limits or {}
    shares = [share for candidate in candidates if (share := _Share(candidate)).open]
    load = Counter(running)
    pairs: list[tuple[str, Candidate]] = []
    levels: dict[int, list[Waiting]] = {}
    for job in jobs:
        levels.setdefault(_level(job, now), []).append(job)
    for level in sorted(levels, reverse=True):
        queue = _by_account(levels[level])
        while queue and shares:
            account = min(
                queue, key=lambda name: (load[name], queue[name][0].submitted_at, queue[name][0].job_id)
            )
            job = queue[account].pop(0)
            if not queue[account]:
                del queue[account]
            if load[account] >= limits.get(account, load[account] + 1):
                queue.pop(account, None)
                continue
            suitable = [share for share in shares if share.suits(job, now)]
            if suitable:
                share = min(suitable, key=lambda share: _preference(job, share))
                share.give(job)
                load[account] += 1
                pairs.append((job.job_id, share.candidate))
                if not share.open:
                    shares.remove(share)
    return pairs


def _level(job: Waiting, now: float) -> int:
    return job.priority + int(max(0.0, now - job.submitted_at) / AGEING_SECONDS)


def _by_account(jobs: list[Waiting]) -> dict[str, list[Waiting]]:
    queue: dict[str, list[Waiting]] = {}
    for job in sorted(jobs, key=lambda job: (job.submitted_at, job.job_id)):
        queue.setdefault(job.account_id, []).append(job)
    return queue


def _preference(job: Waiting, share: _Share) -> tuple[bool, bool, Decimal, bool, bool, int, str]:
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
    """Return whether the miner can run the job at all: service, price, model, hardware, and the client's choice of miner.

    A job that cannot pay for one metered unit does not fit, because the miner would be paid less than its price.
    """
    offer = candidate.services.get(job.service)
    if offer is None or job.miner_id not in (None, candidate.miner_id):
        return False
    if job.budget is not None and job.budget < offer.unit_price:
        return False
    if job.avoid_miner_id == candidate.miner_id and now < job.avoid_until:
        return False
    if job.model is not None and (
        job.model in offer.unavailable_models or (job.model not in offer.models and not offer.downloadable)
    ):
        return False
    gpus = min(candidate.gpus, offer.gpus)
    return job.cpu <= candidate.cpu_cores and job.memory <= candidate.memory and job.gpus <= gpus
