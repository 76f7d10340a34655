"""Why a job does not run: what prevents it and by how much, who can change that, and how. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agent.coordinator.features.waits.words import WORDS, JobSituation
from agent.core.feasibility import KnownMiner, has_auditor, hindrances, lasting
from agent.core.matching import Waiting
from agent.core.waiting_reasons import WaitingReason
from aitbc.reasons import CanRun, ReasonCode


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a job does not run. `by_miner` has each miner's reasons, the one nearest to running the job first."""

    can_run: CanRun
    reasons: tuple[WaitingReason, ...]
    by_miner: tuple[tuple[KnownMiner, tuple[ReasonCode, ...]], ...] = ()

    @property
    def summary(self) -> str:
        """One sentence for people."""
        if not self.reasons:
            return "A miner can start it now."
        return self.reasons[0].message


def explain(job: Waiting, situation: JobSituation) -> Explanation:
    """Return why the job does not run.

    The reasons are those of the miners that come nearest to running the job: who could run it now but for one thing says more than
    who could never run it.
    """
    by_miner = [(miner, hindrances(job, miner, situation)) for miner in situation.miners]
    # The nearest miner first; the id makes the order the same each time.
    by_miner.sort(key=lambda pair: (lasting(pair[1]), len(pair[1]), pair[0].miner_id))
    job_reasons = list(_job_reasons(job, situation, by_miner))
    nearest = _nearest(by_miner)
    possible = bool(nearest) and not lasting(nearest[0][1])
    # What is wrong with the job itself holds for every miner, so theirs would only distract.
    if any(reason.code.lasting for reason in job_reasons):
        nearest, possible = [], False
    reasons = [*job_reasons, *_of_miners(job, nearest, situation)]
    if possible and (waiting := _queued(job, situation)) is not None:
        reasons.append(waiting)
    startable = possible and not job_reasons and any(not codes for _, codes in nearest)
    if startable:
        # If one miner could start it now, what hinders the others does not matter.
        reasons = [reason for reason in reasons if reason.code is ReasonCode.QUEUED]
    # Miners may still join a coordinator that has none.
    can_run: CanRun = "later" if possible or not situation.miners else "never"
    return Explanation("now" if startable and not reasons else can_run, tuple(reasons), tuple(by_miner))


_ByMiner = Sequence[tuple[KnownMiner, tuple[ReasonCode, ...]]]


def _nearest(by_miner: _ByMiner) -> list[tuple[KnownMiner, tuple[ReasonCode, ...]]]:
    """Return the miners with the fewest lasting reasons: of those that offer the service, if there are any."""
    # Miners that are out of the question anyway are left out, unless there are no others.
    for missing in (ReasonCode.NOT_CHOSEN, ReasonCode.SERVICE_NOT_OFFERED, ReasonCode.MINER_EXCLUDED):
        by_miner = [pair for pair in by_miner if missing not in pair[1]] or by_miner
    fewest = min((lasting(codes) for _, codes in by_miner), default=0)
    return [pair for pair in by_miner if lasting(pair[1]) == fewest]


def _job_reasons(job: Waiting, situation: JobSituation, by_miner: _ByMiner) -> Iterator[WaitingReason]:
    """Yield the reasons that concern no miner, or only the one that the job names."""
    if situation.missing_files:
        yield _reason(ReasonCode.FILES_MISSING, job, (), situation)
    if not situation.miners:
        yield _reason(ReasonCode.NO_MINERS, job, (), situation)
    elif job.miner_id is not None and job.miner_id not in {miner.miner_id for miner, _ in by_miner}:
        yield _reason(ReasonCode.MINER_UNKNOWN, job, (), situation)
    yield from situation.of_features
    if situation.miners and not has_auditor(job, situation.miners):
        yield _reason(ReasonCode.NO_AUDITOR, job, (), situation)
    if situation.limit is not None and situation.running >= situation.limit:
        yield _reason(ReasonCode.ACCOUNT_LIMIT, job, (), situation)


def _of_miners(job: Waiting, nearest: _ByMiner, situation: JobSituation) -> list[WaitingReason]:
    """Return the reasons of the nearest miners, one for each code: lasting ones first, then those of most miners."""
    concerned: defaultdict[ReasonCode, list[KnownMiner]] = defaultdict(list)
    for miner, codes in nearest:
        # A passing hindrance is not worth naming next to a lasting one.
        for code in [code for code in codes if code.lasting] or codes:
            concerned[code].append(miner)
    # What does not pass by itself first, and what concerns most miners first.
    order = sorted(concerned, key=lambda code: (not code.lasting, -len(concerned[code])))
    return [_reason(code, job, concerned[code], situation) for code in order]


def _queued(job: Waiting, situation: JobSituation) -> WaitingReason | None:
    return _reason(ReasonCode.QUEUED, job, (), situation) if situation.ahead else None


def _reason(
    code: ReasonCode, job: Waiting, miners: Sequence[KnownMiner], situation: JobSituation
) -> WaitingReason:
    words = WORDS[code](job, miners, situation)
    details = {**words.details, **({"miner_ids": [miner.miner_id for miner in miners]} if miners else {})}
    return WaitingReason(
        code, words.message, words.action, details, tuple(miner.miner_id for miner in miners)
    )
