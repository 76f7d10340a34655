"""Which miner gets which job: the cheapest one that can start it at once and has free capacity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Protocol, TypeAlias

from agent.core.matching import Candidate, CandidateService, FreeCapacity, Waiting, fits, in_turn

Preference: TypeAlias = tuple[bool, Decimal, bool, bool, int, str]
"""The sort key of a miner for a job; the smallest wins. Price decides, unless the job would wait for a download.

Among equal prices, joining a running batch saves a slot, and a loaded model saves the time to load it. The last value is the miner's id.
"""


class Share:
    """What is left of a miner in a round: its free capacity, and how many jobs it may be given (`limit`), None if that decides alone."""

    def __init__(self, candidate: Candidate, limit: int | None = None) -> None:
        concurrency = {service: offer.concurrency for service, offer in candidate.services.items()}
        self.free = FreeCapacity(candidate.slots, candidate.batch_capacity, concurrency)
        self._limit = limit

    @property
    def open(self) -> bool:
        """Whether it can be given another job."""
        return bool(self.free) and (self._limit is None or self._limit > 0)

    def give(self, job: Waiting) -> None:
        """Give it a job that it accepts."""
        self.free.reserve(job.service, job.model)
        if self._limit is not None:
            self._limit -= 1


def preference(
    model: str | None, offer: CandidateService, *, slots: int, joins: bool, miner_id: str
) -> Preference:
    """Return the sort key of a miner for jobs with a model. It has free `slots`, and the job `joins` a running batch of it."""
    # A download takes minutes and a load seconds, so what must be downloaded comes last, before any price.
    absent = model is not None and model not in offer.loaded
    return (absent and model not in offer.models, offer.unit_price, not joins, absent, -slots, miner_id)


class Miners(Protocol):
    """The miners that wait for work, in a round of matching."""

    def begin(self, limits: Mapping[str, int]) -> None:
        """Begin a round in which no miner has been given a job, and these miners are given only so many."""

    def __bool__(self) -> bool:
        """Return whether any miner can be given another job."""

    def best(self, job: Waiting, now: float) -> Candidate | None:
        """Return the miner that the job gets, or None. One that failed it gets it only if no other one can run it."""

    def give(self, job: Waiting, candidate: Candidate) -> None:
        """Give the job to a miner that `best` returned."""


class AllMiners:
    """The rule: a search among all miners for each job. `RankedMiners` answers the same in less time."""

    def __init__(self, candidates: Iterable[Candidate]) -> None:
        self._candidates = list(candidates)
        self._shares: dict[str, Share] = {}

    def begin(self, limits: Mapping[str, int]) -> None:
        """See `Miners`."""
        self._shares = {
            candidate.miner_id: Share(candidate, limits.get(candidate.miner_id))
            for candidate in self._candidates
        }

    def __bool__(self) -> bool:
        """See `Miners`."""
        return any(share.open for share in self._shares.values())

    def best(self, job: Waiting, now: float) -> Candidate | None:
        """See `Miners`."""
        suitable = [
            candidate
            for candidate in self._candidates
            if (share := self._shares[candidate.miner_id]).open
            and share.free.accepts(job.service, job.model)
            and fits(job, candidate, now)
        ]

        def key(candidate: Candidate) -> tuple[bool, Preference]:
            offer, free = candidate.services[job.service], self._shares[candidate.miner_id].free
            joins = free.joins(job.service, job.model)
            of_miner = preference(
                job.model, offer, slots=free.slots, joins=joins, miner_id=candidate.miner_id
            )
            return candidate.miner_id == job.avoid_miner_id, of_miner

        return min(suitable, key=key, default=None)

    def give(self, job: Waiting, candidate: Candidate) -> None:
        """See `Miners`."""
        self._shares[candidate.miner_id].give(job)


def match(
    jobs: Iterable[Waiting],
    miners: Miners,
    running: Mapping[str, int],
    now: float,
    limits: Mapping[str, int] | None = None,
    max_jobs: Mapping[str, int] | None = None,
) -> list[tuple[str, Candidate]]:
    """Return pairs of job id and miner, best first. `running` counts the running jobs of each account.

    `limits` has the maximum number of running jobs of accounts that are limited, `max_jobs` how many jobs some miners get at most, even
    if they have more free capacity. A job avoids the miner that failed it last while another suitable miner is waiting.
    """
    load = Counter(running)
    pairs: list[tuple[str, Candidate]] = []
    miners.begin(max_jobs or {})
    for job in in_turn(jobs, load, now, limits):
        if not miners:
            break
        best = miners.best(job, now)
        if best is not None:
            miners.give(job, best)
            load[job.account_id] += 1
            pairs.append((job.job_id, best))
    return pairs
