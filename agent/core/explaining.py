"""Why a job does not run: what prevents each miner from running it, by how much, and who can change that.

The rules are those of `matching`; this module adds the state of the miners and the words.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal

from agent.core.machine.placement import largest_together
from agent.core.matching import Candidate, Waiting, audits, obstacles
from agent.core.reason_words import WORDS
from agent.core.reasons import ReasonCode, Who

CanRun = Literal["now", "later", "never"]

SCHEDULED: Final = "by schedule"
"""The beginning of a miner's `paused` while its schedule pauses it."""


@dataclass(frozen=True, slots=True)
class ModelNeeds:
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


@dataclass(frozen=True, slots=True)
class Failed:
    """A run of the job that failed on a miner."""

    miner_id: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that an explanation depends on, besides the job.

    `unit` is the service's metering unit in words and `units` those that the request determines. `limit` is the account's maximum
    number of running jobs, None without one. `ahead` are the jobs that come first, oldest first; None: unknown.
    """

    miners: Sequence[KnownMiner]
    now: float
    unit: str = "unit"
    units: Decimal | None = None
    model: ModelNeeds | None = None
    missing_files: Sequence[str] = ()
    failures: Sequence[Failed] = ()
    offer_ended: str | None = None
    running: int = 0
    limit: int | None = None
    ahead: Sequence[Waiting] | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason for waiting: what and by how much, who can change it, and how. `miner_ids` are the miners that it concerns."""

    code: ReasonCode
    message: str
    action: str
    details: Mapping[str, Any] = field(default_factory=dict)
    miner_ids: tuple[str, ...] = ()

    @property
    def who(self) -> Who:
        """Who can change it."""
        return self.code.who


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a job does not run. `by_miner` has each miner's reasons, the one nearest to running the job first."""

    can_run: CanRun
    reasons: tuple[Reason, ...]
    by_miner: tuple[tuple[KnownMiner, tuple[ReasonCode, ...]], ...] = ()

    @property
    def summary(self) -> str:
        """One sentence for people."""
        if not self.reasons:
            return "A miner can start it now."
        return self.reasons[0].message


def explain(job: Waiting, situation: Situation) -> Explanation:
    """Return why the job does not run.

    The reasons are those of the miners that come nearest to running the job: who could run it now but for one thing says more than
    who could never run it.
    """
    by_miner = [(miner, hindrances(job, miner, situation)) for miner in situation.miners]
    by_miner.sort(key=lambda pair: (_lasting(pair[1]), len(pair[1]), pair[0].miner_id))
    own = list(_own_reasons(job, situation, by_miner))
    nearest = _nearest(by_miner)
    possible = bool(nearest) and not _lasting(nearest[0][1])
    if any(reason.code.lasting for reason in own):
        nearest, possible = [], False
    reasons = [*own, *_of_miners(job, nearest, situation)]
    if possible and (waiting := _queued(job, situation)) is not None:
        reasons.append(waiting)
    startable = possible and not own and any(not codes for _, codes in nearest)
    if startable:
        reasons = [reason for reason in reasons if reason.code is ReasonCode.QUEUED]
    can_run: CanRun = "later" if possible or not situation.miners else "never"
    return Explanation("now" if startable and not reasons else can_run, tuple(reasons), tuple(by_miner))


def possible(job: Waiting, situation: Situation) -> bool:
    """Return whether any known miner could ever run the job as it is. Without any known miner, one may still join."""
    return not situation.miners or (
        any(not _lasting(hindrances(job, miner, situation)) for miner in situation.miners)
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


def able(job: Waiting, miner: KnownMiner, situation: Situation) -> bool:
    """Return whether the miner can run the job at present, once it has free capacity."""
    return all(code is ReasonCode.MINER_BUSY for code in hindrances(job, miner, situation))


def elsewhere(job: Waiting, miners: Sequence[KnownMiner], failed_on: frozenset[str], now: float) -> bool:
    """Return whether a miner on which the job has not failed can run it at present, once it has free capacity."""
    return any(
        miner.miner_id not in failed_on and able(job, miner, Situation(miners, now)) for miner in miners
    )


def hindrances(job: Waiting, miner: KnownMiner, situation: Situation) -> tuple[ReasonCode, ...]:
    """Return what prevents a miner from running the job, lasting reasons first."""
    found = [_refined(code, job, miner, situation) for code in obstacles(job, miner.candidate, situation.now)]
    if ReasonCode.NOT_CHOSEN in found:
        return (ReasonCode.NOT_CHOSEN,)
    if not found and _too_costly(job, miner, situation):
        found.append(ReasonCode.ESTIMATE_ABOVE_MAX_COST)
    found += _states(miner, situation.now)
    if miner.busy and not found:
        found.append(ReasonCode.MINER_BUSY)
    return tuple(sorted(found, key=lambda code: not code.lasting))


def _refined(code: ReasonCode, job: Waiting, miner: KnownMiner, situation: Situation) -> ReasonCode:
    """Return why a model is unavailable, as far as the catalogue shows it."""
    needs = situation.model
    if code is not ReasonCode.MODEL_UNAVAILABLE or needs is None:
        return code
    candidate = miner.candidate
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


def _lasting(codes: Sequence[ReasonCode]) -> int:
    return sum(code.lasting for code in codes)


_ByMiner = Sequence[tuple[KnownMiner, tuple[ReasonCode, ...]]]


def _nearest(by_miner: _ByMiner) -> list[tuple[KnownMiner, tuple[ReasonCode, ...]]]:
    """Return the miners with the fewest lasting reasons: of those that offer the service, if there are any."""
    for missing in (ReasonCode.NOT_CHOSEN, ReasonCode.SERVICE_NOT_OFFERED, ReasonCode.MINER_EXCLUDED):
        by_miner = [pair for pair in by_miner if missing not in pair[1]] or by_miner
    fewest = min((_lasting(codes) for _, codes in by_miner), default=0)
    return [pair for pair in by_miner if _lasting(pair[1]) == fewest]


def _own_reasons(job: Waiting, situation: Situation, by_miner: _ByMiner) -> Iterator[Reason]:
    """Yield the reasons that concern no miner, or only the one that the job names."""
    if situation.missing_files:
        yield _reason(ReasonCode.FILES_MISSING, job, (), situation)
    if not situation.miners:
        yield _reason(ReasonCode.NO_MINERS, job, (), situation)
    elif job.miner_id is not None and job.miner_id not in {miner.miner_id for miner, _ in by_miner}:
        yield _reason(ReasonCode.MINER_UNKNOWN, job, (), situation)
    if situation.offer_ended is not None:
        yield _reason(ReasonCode.OFFER_ENDED, job, (), situation)
    if situation.miners and not has_auditor(job, situation.miners):
        yield _reason(ReasonCode.NO_AUDITOR, job, (), situation)
    if situation.limit is not None and situation.running >= situation.limit:
        yield _reason(ReasonCode.ACCOUNT_LIMIT, job, (), situation)


def _of_miners(job: Waiting, nearest: _ByMiner, situation: Situation) -> list[Reason]:
    """Return the reasons of the nearest miners, one for each code: lasting ones first, then those of most miners."""
    concerned: defaultdict[ReasonCode, list[KnownMiner]] = defaultdict(list)
    for miner, codes in nearest:
        lasting = [code for code in codes if code.lasting]
        for code in lasting or codes:
            concerned[code].append(miner)
    order = sorted(concerned, key=lambda code: (not code.lasting, -len(concerned[code])))
    return [_reason(code, job, concerned[code], situation) for code in order]


def _queued(job: Waiting, situation: Situation) -> Reason | None:
    return _reason(ReasonCode.QUEUED, job, (), situation) if situation.ahead else None


def _reason(code: ReasonCode, job: Waiting, miners: Sequence[KnownMiner], situation: Situation) -> Reason:
    words = WORDS[code](job, miners, situation)
    details = {**words.details, **({"miner_ids": [miner.miner_id for miner in miners]} if miners else {})}
    return Reason(code, words.message, words.action, details, tuple(miner.miner_id for miner in miners))
