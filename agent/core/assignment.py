"""Which miner gets which job: the cheapest one that can start it at once and has free capacity."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final, TypeAlias

from agent.core.matching import Batch, Candidate, FreeCapacity, Waiting, fits, in_turn, model_obstacles

MAX_RANKINGS: Final = 200
"""Maximum number of services and models for which `Candidates` keeps the miners' order."""
MAX_RANKED: Final = 1_000_000
"""Maximum number of miners in all these orders together. Each takes some 200 bytes."""
MANY: Final = 0.25
"""The share of an order's miners from which on it is sorted, instead of moving those that have changed one by one."""


class _Share:
    """What is left of a candidate in this round: its free capacity, and how many jobs it may be given, None if that decides alone."""

    def __init__(self, candidate: Candidate, most: int | None = None) -> None:
        concurrency = {service: offer.concurrency for service, offer in candidate.services.items()}
        self.free = FreeCapacity(candidate.slots, candidate.batch_capacity, concurrency)
        self._most = most

    @property
    def open(self) -> bool:
        """Whether it can be given another job."""
        return bool(self.free) and (self._most is None or self._most > 0)

    def give(self, job: Waiting) -> None:
        """Give it a job that it accepts."""
        self.free.reserve(job.service, job.model)
        if self._most is not None:
            self._most -= 1


_Preference: TypeAlias = tuple[bool, Decimal, bool, bool, int, str]
"""The sort key of a miner for jobs of a service and model; the smallest wins. Price decides, unless the job would wait for a download.

Among equal prices, joining a running batch saves a slot, and a loaded model saves the time to load it. The last value is the miner's id.
"""


class _Ranking:
    """The miners that accept jobs of one service and model, the best first. Those in `stale` have changed."""

    def __init__(self, miner_ids: Iterable[str]) -> None:
        self.order: list[_Preference] = []
        self.stale = set(miner_ids)
        self._of: dict[str, _Preference] = {}

    def refresh(self, preference_of: Callable[[str], _Preference | None]) -> None:
        """Move the miners that have changed to their present positions."""
        before = [self._of.pop(miner_id) for miner_id in self.stale if miner_id in self._of]
        now = [found for miner_id in self.stale if (found := preference_of(miner_id)) is not None]
        self._of.update((preference[-1], preference) for preference in now)
        if len(self.stale) > MANY * len(self.order):
            self.order = sorted(self._of.values())
        else:
            for preference in before:
                del self.order[bisect_left(self.order, preference)]
            for preference in now:
                insort(self.order, preference)
        self.stale.clear()

    def of(self, miner_id: str | None) -> Iterable[_Preference]:
        """Return the preferences of all miners, or of one."""
        if miner_id is None:
            return self.order
        found = self._of.get(miner_id)
        return () if found is None else (found,)


class Candidates:
    """The miners that wait for work, in the order in which jobs of each service and model prefer them.

    It lasts from round to round, so that a round takes the time for what has changed since the last one, and not for all miners.
    Between `update` and the end of a round it belongs to that round. `max_ranked` limits its memory.
    """

    def __init__(self, candidates: Iterable[Candidate] = (), *, max_ranked: int = MAX_RANKED) -> None:
        self._max_ranked = max_ranked
        self._known: dict[str, Candidate] = {}
        self._open: set[str] = set()
        self._shares: dict[str, _Share] = {}
        self._rankings: dict[Batch, _Ranking] = {}  # the least recently used first
        self.update(candidates)

    def update(self, candidates: Iterable[Candidate]) -> None:
        """Replace the miners. One that is the same object as before has not changed."""
        present = {candidate.miner_id: candidate for candidate in candidates}
        changed = [
            miner_id for miner_id, candidate in present.items() if self._known.get(miner_id) is not candidate
        ]
        changed += self._known.keys() - present.keys()
        self._known = present
        self._changed(changed)

    def begin(self, most: Mapping[str, int]) -> None:
        """Begin a round in which no miner has been given a job, and these miners are given only so many."""
        before = list(self._shares)
        self._shares = {
            miner_id: _Share(self._known[miner_id], count)
            for miner_id, count in most.items()
            if miner_id in self._known
        }
        self._changed([*before, *self._shares])

    def __bool__(self) -> bool:
        """Return whether any miner can be given another job."""
        return bool(self._open)

    def ranked(self, job: Waiting) -> Sequence[_Preference]:
        """Return the preferences of the miners that have capacity for jobs of this service and model, the best first."""
        return self._ranking(job.service, job.model).order

    def best(self, job: Waiting, now: float) -> Candidate | None:
        """Return the miner that the job gets, or None. One that failed it gets it only if no other one can run it."""
        last_resort = None
        for preference in self._ranking(job.service, job.model).of(job.miner_id):
            if job.budget is not None and job.budget < preference[1]:
                continue
            candidate = self._known[preference[-1]]
            if fits(job, candidate, now):
                if candidate.miner_id != job.avoid_miner_id:
                    return candidate
                last_resort = candidate
        return last_resort

    def give(self, job: Waiting, candidate: Candidate) -> None:
        """Give the job to a miner that `best` returned."""
        share = self._shares.get(candidate.miner_id)
        if share is None:
            share = self._shares[candidate.miner_id] = _Share(candidate)
        share.give(job)
        self._changed([candidate.miner_id])

    def _changed(self, miner_ids: Sequence[str]) -> None:
        for ranking in self._rankings.values():
            ranking.stale.update(miner_ids)
        for miner_id in miner_ids:
            if self._is_open(miner_id):
                self._open.add(miner_id)
            else:
                self._open.discard(miner_id)

    def _is_open(self, miner_id: str) -> bool:
        if (share := self._shares.get(miner_id)) is not None:
            return share.open
        candidate = self._known.get(miner_id)
        return candidate is not None and (
            candidate.slots > 0 or max(candidate.batch_capacity.values(), default=0) > 0
        )

    def _ranking(self, service: str, model: str | None) -> _Ranking:
        """Return the order for a service and model as it is now."""
        batch = (service, model)
        ranking = self._rankings.pop(batch, None)
        if ranking is None:
            ranking = _Ranking(self._known)
            most = min(MAX_RANKINGS, self._max_ranked // max(1, len(self._known)))
            while self._rankings and len(self._rankings) >= most:
                del self._rankings[next(iter(self._rankings))]
        self._rankings[batch] = ranking
        if ranking.stale:
            ranking.refresh(lambda miner_id: self._preference(miner_id, service, model))
        return ranking

    def _preference(self, miner_id: str, service: str, model: str | None) -> _Preference | None:
        """Return the sort key of a miner; None if it cannot be given a job of this service and model."""
        if miner_id not in self._open:
            return None
        candidate, share = self._known[miner_id], self._shares.get(miner_id)
        offer = candidate.services.get(service)
        if offer is None or next(model_obstacles(model, offer), None) is not None:
            return None
        if share is None:
            slots, joins = candidate.slots, candidate.batch_capacity.get((service, model), 0) > 0
        else:
            slots, joins = share.free.slots, share.free.joins(service, model)
        if slots <= 0 and not joins:
            return None
        absent = model is not None and model not in offer.loaded
        return (
            absent and model not in offer.models,
            offer.unit_price,
            not joins,
            absent,
            -slots,
            miner_id,
        )


class _Nobodys:
    """Jobs of one service and model for which no miner was found in this round. Within a round, no miner begins to suit a job."""

    def __init__(self, ranked: Iterable[_Preference]) -> None:
        self._prices = sorted({price for _, price, *_ in ranked})
        self._kinds: set[Hashable] = set()

    def add(self, job: Waiting) -> None:
        """Add a job, and all for which the same decides which miners suit them."""
        self._kinds.add(self._kind(job))

    def __contains__(self, job: Waiting) -> bool:
        """Return whether no miner suits a job."""
        return self._kind(job) in self._kinds

    def _kind(self, job: Waiting) -> Hashable:
        """Return all that decides which miners suit a job. Of its budget, that is which prices it covers."""
        return (
            None if job.budget is None else bisect_right(self._prices, job.budget),
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


def match(
    jobs: Iterable[Waiting],
    candidates: Candidates,
    running: Mapping[str, int],
    now: float,
    limits: Mapping[str, int] | None = None,
    most: Mapping[str, int] | None = None,
) -> list[tuple[str, Candidate]]:
    """Return pairs of job id and miner, best first. `running` counts the running jobs of each account.

    `limits` has the maximum number of running jobs of accounts that are limited, `most` how many jobs some miners get at most, even
    if they have more free capacity. A job avoids the miner that failed it last while another suitable miner is waiting.
    """
    load = Counter(running)
    pairs: list[tuple[str, Candidate]] = []
    nobodys: dict[Batch, _Nobodys] = {}
    candidates.begin(most or {})
    for job in in_turn(jobs, load, now, limits):
        if not candidates:
            break
        batch = (job.service, job.model)
        if batch in nobodys and job in nobodys[batch]:
            continue
        best = candidates.best(job, now)
        if best is None:
            if batch not in nobodys:
                nobodys[batch] = _Nobodys(candidates.ranked(job))
            nobodys[batch].add(job)
            continue
        candidates.give(job, best)
        load[job.account_id] += 1
        pairs.append((job.job_id, best))
    return pairs
