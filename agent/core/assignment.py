"""Which miner gets which job: the cheapest one that can start it at once and has free capacity."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from heapq import merge
from typing import Final, TypeAlias, cast

from agent.core.matching import (
    UNRESTRICTED,
    Batch,
    Candidate,
    FreeCapacity,
    ServiceOffer,
    Waiting,
    fits,
    in_turn,
    model_obstacles,
)

MAX_RANKINGS: Final = 200
"""Maximum number of services and models for which `Candidates` keeps the miners' order."""
MAX_RANKED: Final = 1_000_000
"""Maximum number of miners in all these orders together. Each takes some 200 bytes."""
MAX_NOBODYS: Final = 4096
"""Maximum number of kinds of jobs of which `Candidates` knows that nobody suits them: more than a round has jobs."""
MIN_APPEARED: Final = 1000
"""How many miners that have appeared are known of each order, besides as many as it has."""
UNNAMED: Final = ""
"""Stands for each model that no miner names."""
MANY: Final = 0.25
"""The share of an order's miners from which on those that have changed are not treated one by one."""


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

_NO_PRICE: Final = Decimal(-1)
_ANY_PRICE: Final = Decimal("Infinity")
_LAST: Final = cast("bool", 2)
"""Follows both values of the third element of a preference."""


class _Ranking:
    """The miners that accept jobs of one service and model, the best first. Those in `stale` have changed.

    `appeared` are the miners that came or became another object, in this order; the first `forgotten` ones are no longer known.
    """

    def __init__(self, miner_ids: Iterable[str]) -> None:
        self.order: list[_Preference] = []
        self.stale = set(miner_ids)
        self.appeared: list[str] = []
        self.forgotten = 0
        self._of: dict[str, tuple[_Preference, Candidate]] = {}

    def refresh(self, preference_of: Callable[[str], tuple[_Preference, Candidate] | None]) -> None:
        """Move the miners that have changed to their present positions."""
        before, now = [], []
        for miner_id in self.stale:
            former, found = self._of.pop(miner_id, None), preference_of(miner_id)
            if former is not None:
                before.append(former[0])
            if found is not None:
                self._of[miner_id] = found
                now.append(found[0])
                if former is None or former[1] is not found[1]:
                    self.appeared.append(miner_id)
        if (excess := len(self.appeared) - len(self._of) - MIN_APPEARED) > 0:
            del self.appeared[:excess]
            self.forgotten += excess
        if len(self.stale) > MANY * len(self.order):
            self.order = sorted(preference for preference, _ in self._of.values())
        else:
            for preference in before:
                del self.order[bisect_left(self.order, preference)]
            for preference in now:
                insort(self.order, preference)
        self.stale.clear()

    @property
    def version(self) -> int:
        """How many miners have appeared so far."""
        return self.forgotten + len(self.appeared)

    def of(self, miner_id: str) -> Iterable[_Preference]:
        """Return the preference of one miner."""
        found = self._of.get(miner_id)
        return () if found is None else (found[0],)

    def priced(self, budget: Decimal, above: Decimal = _NO_PRICE) -> Iterator[_Preference]:
        """Yield the preferences of all miners with a price of at most `budget`, and of more than `above`, the best first."""
        if budget is _ANY_PRICE and above is _NO_PRICE:
            yield from self.order
            return
        for downloads in (False, True):
            for index in range(self._after(downloads, above), self._after(downloads, budget)):
                yield self.order[index]

    def appeared_since(self, version: int, budget: Decimal) -> list[_Preference]:
        """Return the preferences of the miners with such a price that have appeared since a version, the best first."""
        miner_ids = set(self.appeared[version - self.forgotten :])
        found = [self._of[miner_id][0] for miner_id in miner_ids if miner_id in self._of]
        return sorted(preference for preference in found if preference[1] <= budget)

    def _after(self, downloads: bool, price: Decimal) -> int:
        return bisect_right(self.order, (downloads, price, _LAST, False, 0, ""))


@dataclass(slots=True)
class _Nobody:
    """When a ranking had a `version`, none of its miners up to the price `budget` suited a kind of jobs."""

    ranking: _Ranking
    version: int
    budget: Decimal

    def is_surpassed(self, budget: Decimal) -> bool:
        """Return whether it is worth more that there is nobody up to another price now."""
        many = MANY * len(self.ranking.order)
        return budget >= self.budget or self.ranking.version - self.version > many


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
        self._nobodys: dict[Hashable, _Nobody] = {}  # by the kind of job, the least recently used first
        self._hopeless: dict[
            Hashable, Decimal
        ] = {}  # up to which price nobody suits a kind of jobs in this round
        self._named: Counter[Batch] = Counter()  # how many miners name a model
        self._joined: set[Batch] = set()  # what has been given in this round and can be joined
        self.update(candidates)

    def update(self, candidates: Iterable[Candidate]) -> None:
        """Replace the miners. One that is the same object as before has not changed."""
        present = {candidate.miner_id: candidate for candidate in candidates}
        changed = [
            miner_id for miner_id, candidate in present.items() if self._known.get(miner_id) is not candidate
        ]
        changed += self._known.keys() - present.keys()
        for miner_id in changed:
            self._count_names(self._known.get(miner_id), present.get(miner_id))
        self._known = present
        self._changed(changed)

    def begin(self, most: Mapping[str, int]) -> None:
        """Begin a round in which no miner has been given a job, and these miners are given only so many."""
        before = list(self._shares)
        self._joined.clear()
        self._hopeless.clear()
        self._shares = {
            miner_id: _Share(self._known[miner_id], count)
            for miner_id, count in most.items()
            if miner_id in self._known
        }
        self._changed([*before, *self._shares])

    def __bool__(self) -> bool:
        """Return whether any miner can be given another job."""
        return bool(self._open)

    def best(self, job: Waiting, now: float) -> Candidate | None:
        """Return the miner that the job gets, or None. One that failed it gets it only if no other one can run it."""
        batch = self._batch(job)
        if job.miner_id is not None:
            return self._first(job, self._ranking(batch).of(job.miner_id), now)
        budget = _ANY_PRICE if job.budget is None else job.budget
        kind = (batch, _kind(job, now))
        if budget <= self._hopeless.get(kind, _NO_PRICE):
            return None
        ranking = self._ranking(batch)
        nobody = self._nobodys.pop(kind, None)
        if nobody is not None and (nobody.ranking is not ranking or nobody.version < ranking.forgotten):
            nobody = None
        best = self._first(job, _unexamined(ranking, nobody, budget), now)
        if best is None:
            self._hopeless[kind] = budget
            if nobody is None or nobody.is_surpassed(budget):
                nobody = _Nobody(ranking, ranking.version, budget)
        if nobody is not None:
            self._nobodys[kind] = nobody
            if len(self._nobodys) > MAX_NOBODYS:
                del self._nobodys[next(iter(self._nobodys))]
        return best

    def _first(self, job: Waiting, preferences: Iterable[_Preference], now: float) -> Candidate | None:
        """Return the first of these miners that suits the job."""
        last_resort = None
        for preference in preferences:
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
        if share.free.joins(job.service, job.model):
            self._joined.add((job.service, job.model))
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

    def _batch(self, job: Waiting) -> Batch:
        """Return the service and model of a job. All models of a service that no miner names are one: the same miners accept them."""
        batch = (job.service, job.model)
        named = job.model is None or batch in self._named or batch in self._joined
        return batch if named else (job.service, UNNAMED)

    def _count_names(self, before: Candidate | None, after: Candidate | None) -> None:
        """Count the models that a miner names: those of its services, and those of its running batches."""
        former = {} if before is None else before.services
        present = {} if after is None else after.services
        if former is not present:
            for service in former.keys() | present.keys():
                names, new_names = _names(former.get(service)), _names(present.get(service))
                if names != new_names:
                    self._count([(service, name) for name in names], [(service, name) for name in new_names])
        batches = () if before is None else before.batch_capacity
        new_batches = () if after is None else after.batch_capacity
        if batches or new_batches:
            self._count(batches, new_batches)

    def _count(self, less: Iterable[Batch], more: Iterable[Batch]) -> None:
        for batch in more:
            self._named[batch] += 1
        for batch in less:
            self._named[batch] -= 1
            if not self._named[batch]:
                del self._named[batch]

    def _ranking(self, batch: Batch) -> _Ranking:
        """Return the order for a service and model as it is now."""
        ranking = self._rankings.pop(batch, None)
        if ranking is None:
            ranking = _Ranking(self._known)
            most = min(MAX_RANKINGS, self._max_ranked // max(1, len(self._known)))
            while self._rankings and len(self._rankings) >= most:
                del self._rankings[next(iter(self._rankings))]
        self._rankings[batch] = ranking
        if ranking.stale:
            service, model = batch
            ranking.refresh(lambda miner_id: self._preference(miner_id, service, model))
        return ranking

    def _preference(
        self, miner_id: str, service: str, model: str | None
    ) -> tuple[_Preference, Candidate] | None:
        """Return the sort key of a miner, and the miner; None if it cannot be given a job of this service and model."""
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
        download = absent and model not in offer.models
        return (download, offer.unit_price, not joins, absent, -slots, miner_id), candidate


def _unexamined(ranking: _Ranking, nobody: _Nobody | None, budget: Decimal) -> Iterable[_Preference]:
    """Return the miners that may suit a job, the best first, without those that are known not to."""
    if nobody is None:
        return ranking.priced(budget)
    appeared = ranking.appeared_since(nobody.version, budget)
    if budget <= nobody.budget:
        return appeared
    return merge(appeared, ranking.priced(budget, above=nobody.budget))


def _kind(job: Waiting, now: float) -> Hashable:
    """Return all that decides which miners suit a job, besides its service, model and budget."""
    avoiding = job.avoid_miner_id if now < job.avoid_until else None
    restrictions = None if job.restrictions is UNRESTRICTED else job.restrictions  # whose hash takes long
    return job.cpu, job.memory, job.gpus, job.needs, avoiding, job.avoided, restrictions


def _names(offer: ServiceOffer | None) -> frozenset[str]:
    """Return the models that a miner names for a service."""
    return frozenset() if offer is None else offer.models | offer.loaded | offer.unavailable_models


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
    candidates.begin(most or {})
    for job in in_turn(jobs, load, now, limits):
        if not candidates:
            break
        best = candidates.best(job, now)
        if best is not None:
            candidates.give(job, best)
            load[job.account_id] += 1
            pairs.append((job.job_id, best))
    return pairs
