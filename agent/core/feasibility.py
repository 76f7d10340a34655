"""Whether the known miners can run a job, and what prevents each of them.

The rules are those of `matching`; this module adds the state of the miners.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from agent.core.matching import Candidate, Waiting, audits, obstacles
from aitbc.reasons import ReasonCode

SCHEDULED: Final = "by schedule"
"""The beginning of a miner's `paused` while its schedule pauses it."""


@dataclass(frozen=True, slots=True)
class ModelDemand:
    """What the catalogue says of a model: bytes on a GPU and on a CPU, and whether a miner can download it."""

    vram: int = 0
    memory: int = 0
    fetchable: bool = False


@dataclass(frozen=True, slots=True)
class KnownMiner:
    """A registered miner. `gpu_memories` are in bytes, `seen_at` and `suspended_until` in seconds since the epoch.

    `owner` is empty for a miner of no fleet. `paused` is the miner's own reason, `unavailable` its reasons for services that it does not
    offer. `busy` means that it has no free capacity for the job.
    """

    candidate: Candidate
    name: str
    online: bool = True
    seen_at: float = 0.0
    paused: str | None = None
    excluded: bool = False
    excluded_reason: str | None = None
    suspended_until: float = 0.0
    busy: bool = False
    gpu_memories: Sequence[int] = ()
    unavailable: Mapping[str, Sequence[str]] = field(default_factory=dict)
    owner: str = ""

    @property
    def miner_id(self) -> str:
        """The miner's id."""
        return self.candidate.miner_id

    def memory_for(self, service: str) -> int:
        """Return the memory that a model of a service can use: of its GPUs together if its engine can use several, else of the largest.

        Without a GPU it is the machine's memory.
        """
        if not self.gpu_memories:
            return self.candidate.memory
        offer = self.candidate.services.get(service)
        return largest_together(self.gpu_memories, 1 if offer is None else offer.gpus)


def card_counts(first: int, last: int) -> Iterator[int]:
    """Yield the numbers of cards, from the first to the last, over which an engine can spread a model."""
    count = first
    while count <= max(first, last):
        yield count
        # Engines divide a model's layers and heads by powers of two.
        count *= 2


def largest_together(sizes: Iterable[int], max_cards: int) -> int:
    """Return the bytes of the cards that one model can use at most, if its engine can use `max_cards` of the same size."""
    groups = Counter(sizes)
    usable = (size * count for count in card_counts(1, max_cards) for size in groups if groups[size] >= count)
    return max(usable, default=0)


@dataclass(frozen=True, slots=True)
class Situation:
    """What decides whether miners can run a job.

    `units` are those that the request determines, and `unit` is the word for one. `model` is what the catalogue says of the job's model.
    """

    miners: Sequence[KnownMiner]
    now: float
    unit: str = "unit"
    units: Decimal | None = None
    model: ModelDemand | None = None


def feasible(job: Waiting, situation: Situation) -> bool:
    """Return whether any known miner could ever run the job as it is. Without any known miner, one may still join."""
    return not situation.miners or (
        any(not lasting(hindrances(job, miner, situation)) for miner in situation.miners)
        and has_auditor(job, situation.miners)
    )


def has_auditor(job: Waiting, miners: Sequence[KnownMiner]) -> bool:
    """Return whether a miner of another owner can check the job, if it requests that."""
    if not job.restrictions.audited:
        return True
    least = job.restrictions.min_reputation
    auditors = {
        _party(miner)
        for miner in miners
        if miner.candidate.reputation >= least and checks(miner, job.service)
    }
    runners = {
        _party(miner)
        for miner in miners
        if job.service in miner.candidate.services and job.miner_id in (None, miner.miner_id)
    }
    return any(auditors - {runner} for runner in runners)


def _party(miner: KnownMiner) -> tuple[str, str]:
    """Return what all miners of an owner have in common."""
    return (miner.owner, "") if miner.owner else ("", miner.miner_id)


def checks(miner: KnownMiner, service: str) -> bool:
    """Return whether the miner checks the work of others in this service."""
    offer = miner.candidate.services.get(service)
    return offer is not None and not miner.excluded and audits(offer)


def runnable_on(job: Waiting, miner: KnownMiner, situation: Situation) -> bool:
    """Return whether the miner can run the job at present, once it has free capacity."""
    return all(code is ReasonCode.MINER_BUSY for code in hindrances(job, miner, situation))


def runnable(job: Waiting, situation: Situation) -> bool:
    """Return whether any known miner can run the job at present, once it has free capacity."""
    return any(runnable_on(job, miner, situation) for miner in situation.miners)


def elsewhere(job: Waiting, miners: Sequence[KnownMiner], failed_on: frozenset[str], now: float) -> bool:
    """Return whether a miner on which the job has not failed can run it at present, once it has free capacity."""
    return runnable(job, Situation([miner for miner in miners if miner.miner_id not in failed_on], now))


def hindrances(job: Waiting, miner: KnownMiner, situation: Situation) -> tuple[ReasonCode, ...]:
    """Return what prevents a miner from running the job, lasting reasons first."""
    codes = [_refined(code, job, miner, situation) for code in obstacles(job, miner.candidate, situation.now)]
    # The job names another miner. What else this one lacks is of no interest.
    if ReasonCode.NOT_CHOSEN in codes:
        return (ReasonCode.NOT_CHOSEN,)
    if not codes and _too_costly(job, miner, situation):
        codes.append(ReasonCode.ESTIMATE_ABOVE_MAX_COST)
    codes += _states(miner, situation.now)
    # Free capacity is the last question: it does not matter for a job that the miner cannot run anyway.
    if miner.busy and not codes:
        codes.append(ReasonCode.MINER_BUSY)
    return tuple(sorted(codes, key=lambda code: not code.lasting))


def _refined(code: ReasonCode, job: Waiting, miner: KnownMiner, situation: Situation) -> ReasonCode:
    """Return why a model is unavailable, as far as the catalogue shows it."""
    needs = situation.model
    if code is not ReasonCode.MODEL_UNAVAILABLE or needs is None:
        return code
    candidate = miner.candidate
    # The catalogue has two figures, as the same model takes more memory on a processor than on a GPU, or less.
    need = needs.vram if miner.gpu_memories else needs.memory
    if need > miner.memory_for(job.service):
        return ReasonCode.MODEL_TOO_LARGE
    present = job.model in candidate.services[job.service].models
    return code if present or needs.fetchable else ReasonCode.MODEL_MISSING


def _too_costly(job: Waiting, miner: KnownMiner, situation: Situation) -> bool:
    if situation.units is None or job.budget is None:
        return False
    return situation.units * miner.candidate.services[job.service].unit_price > job.budget


def _states(miner: KnownMiner, now: float) -> Iterator[ReasonCode]:
    if miner.excluded:
        yield ReasonCode.MINER_EXCLUDED
    elif not miner.online:
        yield ReasonCode.MINER_OFFLINE
    elif miner.paused is not None:
        scheduled = miner.paused.startswith(SCHEDULED)
        yield ReasonCode.MINER_ASLEEP if scheduled else ReasonCode.MINER_PAUSED
    elif miner.suspended_until > now:
        yield ReasonCode.MINER_SUSPENDED


def lasting(codes: Sequence[ReasonCode]) -> int:
    """Return how many of the reasons are lasting."""
    return sum(code.lasting for code in codes)
