"""The rule of `assignment` in less time: what earlier rounds have found out about the miners is used again.

For each service, the miners stand in the order of their prices; those that have a model loaded, or a running batch of it, stand in an order of
that model besides. For each kind of jobs, a search examines these orders only as far as jobs need it, and remembers who suits them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from heapq import merge
from itertools import compress
from operator import is_not
from typing import Any, Final, TypeAlias

from sortedcontainers import SortedList

from agent.core.assignment import Share
from agent.core.matching import UNRESTRICTED, Batch, Candidate, Waiting, fits, fits_at_any_price
from agent.core.values.quantities import MONEY_DECIMALS, to_units

MAX_SEARCHES: Final = 4096
"""Maximum number of kinds of jobs whose searches are cached: more than a round has jobs."""
MAX_SUITABLE: Final = 1000
"""How many suitable miners a search remembers; it examines those that follow again when they are needed."""
MIN_CHANGES: Final = 1000
"""How many changes of miners are known, besides as many as there are miners."""
UNNAMED: Final = ""
"""Stands for each model that no miner names."""

_Key: TypeAlias = str
"""A preference without its first element, in digits, so that texts sort like it: several times as fast as tuples with decimals. The smallest is the best."""
_PRICE_DIGITS: Final = 20
_SLOTS_DIGITS: Final = 6
_ID: Final = _PRICE_DIGITS + 2 + _SLOTS_DIGITS
"""Where the miner's id begins in a key."""
_Position: TypeAlias = tuple[str | None, bool] | None
"""An order of a service: that of a model, and whether it must be downloaded; None for the order of all miners with a free slot."""


class _Service:
    """The orders of a service's miners. Those in `stale` have changed."""

    def __init__(self, miner_ids: Iterable[str]) -> None:
        self.stale = set(miner_ids)
        self.orders: defaultdict[_Position, SortedList[_Key]] = defaultdict(SortedList)
        # By position and then by miner: a few large dictionaries of texts, which the garbage collector need not visit.
        self._keys: defaultdict[_Position, dict[str, _Key]] = defaultdict(dict)

    def refresh(self, keys_of: Callable[[str], Iterable[tuple[_Position, _Key]]]) -> None:
        """Move the miners that have changed to their present positions."""
        for position, keys in self._keys.items():
            for miner_id in self.stale & keys.keys():
                self.orders[position].remove(keys.pop(miner_id))
        added: defaultdict[_Position, dict[str, _Key]] = defaultdict(dict)
        for miner_id in self.stale:
            for position, key in keys_of(miner_id):
                added[position][miner_id] = key
        for position, position_keys in added.items():
            self._keys[position] |= position_keys
            # All at once, which sorts a new leader's miners instead of adding them one by one.
            self.orders[position].update(position_keys.values())
        for position in [position for position, order in self.orders.items() if not order]:
            del self.orders[position], self._keys[position]
        self.stale.clear()

    def key(self, miner_id: str, position: _Position) -> _Key | None:
        """Return the key of a miner in an order, or None if it does not stand there."""
        return self._keys[position].get(miner_id) if position in self._keys else None


class _Walk:
    """How far an order has been examined: the suitable miners up to the key `reached`, the best first."""

    def __init__(self, position: _Position) -> None:
        self.position = position
        self.examined = 0
        self._reached: _Key | None = None
        self._suitable: SortedList[_Key] = SortedList()
        self._keys: dict[str, _Key] = {}

    def suitable(
        self, order: SortedList[_Key], budget: Decimal | None, suits: Callable[[str], bool]
    ) -> Iterator[_Key]:
        """Yield the keys of the suitable miners with a price of at most `budget`, the best first."""
        limit = None if budget is None else _last_key(budget)
        for key in self._suitable:
            if limit is not None and key > limit:
                return
            yield key
        # By the key and not by a number, because miners may have joined and left since.
        for key in order.irange(self._reached, inclusive=(False, True)):
            if limit is not None and key > limit:
                return
            self._reached = key
            self.examined += 1
            miner_id = key[_ID:]
            if suits(miner_id):
                self._suitable.add(key)
                self._keys[miner_id] = key
                yield key

    def change(self, miner_id: str, key: _Key | None, suits: Callable[[str], bool]) -> None:
        """Note that a miner has changed. `key` is its present one in the order."""
        if (former := self._keys.pop(miner_id, None)) is not None:
            self._suitable.remove(former)
        if key is None or self._reached is None or key > self._reached or not suits(miner_id):
            return
        self._suitable.add(key)
        self._keys[miner_id] = key
        # The worst half is forgotten and the walk goes back to there, so that nothing between is skipped.
        if len(self._suitable) > MAX_SUITABLE:
            for forgotten in self._suitable[MAX_SUITABLE // 2 :]:
                del self._keys[forgotten[_ID:]]
            del self._suitable[MAX_SUITABLE // 2 :]
            self._reached = self._suitable[-1]


class _Search:
    """The walks for one kind of jobs, as of the change `version` of the miners. The first two need no download."""

    def __init__(self, model: str | None, version: int) -> None:
        self.version = version
        self.walks = tuple(
            _Walk(position) for download in (False, True) for position in ((model, download), None)
        )

    @property
    def examined(self) -> int:
        """How many miners it has examined."""
        return sum(walk.examined for walk in self.walks)


class RankedMiners:
    """The miners that wait for work, see `assignment.Miners`.

    It lasts from round to round, so that a round takes the time for what has changed since the last one, and not for all miners.
    Between `update` and the end of a round it belongs to that round.
    """

    def __init__(self, candidates: Iterable[Candidate] = ()) -> None:
        self._present: dict[str, Candidate] = {}
        self._miners: list[Candidate] = []  # the same
        self._open: set[str] = set()
        self._shares: dict[str, Share] = {}
        self._services: dict[str, _Service] = {}
        self._searches: dict[Hashable, _Search] = {}  # the least recently used first
        self._changes: list[str] = []
        self._forgotten = 0  # how many changes were before these
        self._named: defaultdict[str, Counter[str]] = defaultdict(
            Counter
        )  # how often a service's models are named
        self._batches: Counter[Batch] = Counter()  # how many miners run batches that jobs can join
        self._joined: set[Batch] = set()  # those that jobs have opened in this round
        self.update(candidates)

    def update(self, candidates: Iterable[Candidate]) -> None:
        """Replace the miners. One that is the same object as before has not changed."""
        # A copy, since the caller may change its list before the next round compares both.
        former, self._miners = self._miners, list(candidates)
        removed, added = _differences(former, self._miners)
        for candidate in removed:
            del self._present[candidate.miner_id]
        self._present.update((candidate.miner_id, candidate) for candidate in added)
        self._count_names(added, 1)
        self._count_names(removed, -1)
        self._changed(list({candidate.miner_id: None for candidate in (*removed, *added)}))

    def begin(self, limits: Mapping[str, int]) -> None:
        """Begin a round in which no miner has been given a job, and these miners are given only so many."""
        former = list(self._shares)
        self._joined.clear()
        self._shares = {
            miner_id: Share(self._present[miner_id], limit)
            for miner_id, limit in limits.items()
            if miner_id in self._present
        }
        self._changed([*former, *self._shares])

    def __bool__(self) -> bool:
        """Return whether any miner can be given another job."""
        return bool(self._open)

    def best(self, job: Waiting, now: float) -> Candidate | None:
        """Return the miner that the job gets, or None. One that failed it gets it only if no other one can run it."""
        service = self._service(job.service)
        if job.miner_id is not None:
            candidate = self._present.get(job.miner_id)
            accepts = candidate is not None and self._accepts(job.miner_id, job.service, job.model)
            return candidate if candidate is not None and accepts and fits(job, candidate, now) else None
        last_resort = None
        # The miner that failed the job comes later than any other that can run it, however good its price.
        for key in self._suitable(service, job, now):
            candidate = self._present[key[_ID:]]
            if candidate.miner_id != job.avoid_miner_id:
                return candidate
            last_resort = candidate
        return last_resort

    def give(self, job: Waiting, candidate: Candidate) -> None:
        """Give the job to a miner that `best` returned."""
        share = self._shares.get(candidate.miner_id)
        if share is None:
            share = self._shares[candidate.miner_id] = Share(candidate)
        share.give(job)
        if share.free.joins(job.service, job.model):
            self._joined.add((job.service, job.model))
        # Its free capacity is smaller now, so its position in the orders may be another one.
        self._changed([candidate.miner_id])

    def _suitable(self, service: _Service, job: Waiting, now: float) -> Iterator[_Key]:
        """Yield the keys of the miners that suit a job, the best first."""
        model = self._model(job)
        search = self._search(service, model, job, now)
        for number, download in ((0, False), (2, True)):
            yield from merge(
                *(
                    walk.suitable(
                        service.orders[walk.position],
                        job.budget,
                        self._suits(walk, model, download, job, now),
                    )
                    for walk in search.walks[number : number + 2]
                    if walk.position in service.orders
                )
            )

    def _search(self, service: _Service, model: str | None, job: Waiting, now: float) -> _Search:
        """Return what is known of the miners that suit jobs of this kind, as of now."""
        avoiding = job.avoid_miner_id if now < job.avoid_until else None
        # `UNRESTRICTED` is what nearly all jobs have, and its hash takes long.
        restrictions = None if job.restrictions is UNRESTRICTED else job.restrictions
        requirements = (job.cpu, job.memory, job.gpus, job.needs, avoiding, job.avoided, restrictions)
        kind = (job.service, model, requirements)
        # Taken out and added again at the end, so that the dictionary has them in the order of their use.
        search = self._searches.pop(kind, None)
        version = self._forgotten + len(self._changes)
        # A new search is cheaper than to examine more changed miners than it has examined at all.
        if search is None or search.version < self._forgotten or version - search.version > search.examined:
            search = _Search(model, version)
        self._searches[kind] = search
        if len(self._searches) > MAX_SEARCHES:
            del self._searches[next(iter(self._searches))]
        if search.version < version:
            changed = set(self._changes[search.version - self._forgotten :])
            for number, walk in enumerate(search.walks):
                if not walk.examined:
                    continue
                suits = self._suits(walk, model, number > 1, job, now)
                for miner_id in changed:
                    walk.change(miner_id, service.key(miner_id, walk.position), suits)
            search.version = version
        return search

    def _suits(
        self, walk: _Walk, model: str | None, download: bool, job: Waiting, now: float
    ) -> Callable[[str], bool]:
        """Return a function that returns whether a miner suits a job, and whether this order is where it counts."""
        present, service, near = self._present, self._services[job.service], (model, download)

        def suits(miner_id: str) -> bool:
            candidate = present[miner_id]
            if walk.position is None:
                offer = candidate.services[job.service]
                absent = model is not None and model not in offer.models
                if absent is not download or (absent and not offer.downloadable):
                    return False
                # It stands in the order of the model too, where its better position counts.
                if service.key(miner_id, (model, False)) or service.key(miner_id, near):
                    return False
            # A search is for jobs with any budget: where it stops, the next job with more money continues.
            return fits_at_any_price(job, candidate, now)

        return suits

    def _service(self, name: str) -> _Service:
        """Return the orders of a service as they are now."""
        service = self._services.get(name)
        if service is None:
            service = self._services[name] = _Service(self._present)
        if service.stale:
            service.refresh(lambda miner_id: self._keys(miner_id, name))
        return service

    def _keys(self, miner_id: str, service: str) -> Iterator[tuple[_Position, _Key]]:
        """Yield the orders of a service in which a miner stands, with its keys there."""
        candidate = self._present.get(miner_id) if miner_id in self._open else None
        offer = None if candidate is None else candidate.services.get(service)
        if candidate is None or offer is None or offer.paused is not None:
            return
        slots, batches = self._free(candidate)
        # A key is the price, two digits (does not join a batch, must load the model), the missing slots and the id. It is
        # put together from these, because a new leader needs one for each order of each miner.
        price, rest = _price_digits(offer.unit_price), _slots_digits(slots) + miner_id
        joinable = [model for (name, model), count in batches.items() if name == service and count > 0]
        if slots > 0:
            yield None, price + "11" + rest
            for loaded in offer.loaded.difference(joinable):
                yield (loaded, False), price + "10" + rest
        for model in joinable:
            absent = model is not None and model not in offer.loaded
            yield (model, absent and model not in offer.models), f"{price}0{absent:d}{rest}"

    def _free(self, candidate: Candidate) -> tuple[int, Mapping[Batch, int]]:
        share = self._shares.get(candidate.miner_id)
        if share is None:
            return candidate.slots, candidate.batch_capacity
        return share.free.slots, share.free.batch_capacity

    def _accepts(self, miner_id: str, service: str, model: str | None) -> bool:
        if miner_id not in self._open:
            return False
        slots, batches = self._free(self._present[miner_id])
        return slots > 0 or batches.get((service, model), 0) > 0

    def _changed(self, miner_ids: Sequence[str]) -> None:
        for service in self._services.values():
            service.stale.update(miner_ids)
        for miner_id in miner_ids:
            if self._is_open(miner_id):
                self._open.add(miner_id)
            else:
                self._open.discard(miner_id)
        self._changes += miner_ids
        if (excess := len(self._changes) - len(self._present) - MIN_CHANGES) > 0:
            del self._changes[:excess]
            self._forgotten += excess

    def _is_open(self, miner_id: str) -> bool:
        if (share := self._shares.get(miner_id)) is not None:
            return share.open
        candidate = self._present.get(miner_id)
        return candidate is not None and (
            candidate.slots > 0 or max(candidate.batch_capacity.values(), default=0) > 0
        )

    def _model(self, job: Waiting) -> str | None:
        """Return the model of a job. All models of a service that no miner names are one: the same miners accept them."""
        batch = (job.service, job.model)
        if job.model is None or batch in self._batches or batch in self._joined:
            return job.model
        return job.model if job.model in self._named[job.service] else UNNAMED

    def _count_names(self, candidates: Iterable[Candidate], sign: int) -> None:
        """Add or subtract the models that miners name: those of their services, and those of their running batches."""
        named: defaultdict[str, list[frozenset[str]]] = defaultdict(list)
        batches: list[Batch] = []
        for candidate in candidates:
            for service, offer in candidate.services.items():
                named[service] += (offer.models, offer.loaded, offer.unavailable_models)
            batches += candidate.batch_capacity
        _count(self._batches, Counter(batches), sign)
        for service, models in named.items():
            # Many miners name the same models, whose names are counted once for all of these.
            for names, number in Counter(models).items():
                _count(self._named[service], dict.fromkeys(names, number), sign)


def _differences(
    former: Sequence[Candidate], present: Sequence[Candidate]
) -> tuple[list[Candidate], list[Candidate]]:
    """Return which objects are in one of two lists: those that were removed, and those that were added.

    They are compared by identity, without reading any, so that all miners of a large fleet take a few milliseconds.
    """
    if len(former) == len(present):
        indexes = list(compress(range(len(present)), map(is_not, former, present)))
        return [former[index] for index in indexes], [present[index] for index in indexes]
    earlier, later = (
        {id(candidate): candidate for candidate in candidates} for candidates in (former, present)
    )
    return (
        [earlier[identity] for identity in earlier.keys() - later.keys()],
        [later[identity] for identity in later.keys() - earlier.keys()],
    )


# Many miners have the same price, and decimals are slow to format.
@lru_cache(4096)
def _price_digits(price: Decimal) -> str:
    return f"{to_units(price):0{_PRICE_DIGITS}d}"


@lru_cache(4096)
def _slots_digits(slots: int) -> str:
    """Return how many slots are missing to the most there can be. Of equal prices, the miner with more slots comes first."""
    return f"{10**_SLOTS_DIGITS - 1 - slots:0{_SLOTS_DIGITS}d}"


def _last_key(budget: Decimal) -> _Key:
    """Return a text that follows the keys of all miners with at most this price, and precedes those of the others."""
    return f"{int(budget.scaleb(MONEY_DECIMALS)):0{_PRICE_DIGITS}d}~"


def _count(counts: Counter[Any], numbers: Mapping[Any, int], sign: int) -> None:
    """Add numbers to counts or subtract them, without what then is 0."""
    for name, number in numbers.items():
        counts[name] += sign * number
        if not counts[name]:
            del counts[name]
