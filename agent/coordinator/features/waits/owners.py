"""Why a miner does not get the jobs that wait: the answer to its owner."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from agent.coordinator.dispatch.fleet import known_miners
from agent.coordinator.features.waits.owner_words import OWNER_ACTIONS
from agent.coordinator.features.waits.reading import with_load
from agent.coordinator.features.waits.words import WORDS, JobSituation
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.jobs import feasibility
from agent.coordinator.operations.miners.ownership import of_caller
from agent.coordinator.store import queue
from agent.core.feasibility import KnownMiner, hindrances
from agent.core.matching import Waiting
from aitbc.answers.jobs import Reason
from aitbc.answers.miners import MinerExplanation, WaitingKind
from aitbc.reasons import ReasonCode

MAX_KINDS: Final = 50
"""Kinds of jobs that an answer lists."""

_Kind = tuple[str, str | None, tuple[ReasonCode, ...]]


def of_miner(connection: Connection, context: Context, caller: Caller, miner_id: str) -> MinerExplanation:
    """Return why one of the caller's miners does not get the jobs that wait. Raises `NotFound`."""
    of_caller(connection, caller, miner_id)
    now = context.clock()
    miners = known_miners(connection, context.settings, now)
    miner = next((miner for miner in miners if miner.miner_id == miner_id), None)
    # Those that check its own work are not for its owner.
    jobs = [job for job in queue.sample(connection) if miner_id not in job.restrictions.excluded]
    kinds = [] if miner is None else _kinds(context, jobs, miner)
    fitting = sum(kind.jobs for kind in kinds if not kind.reasons)
    if not jobs:
        summary = "No job waits for a miner."
    elif fitting:
        summary = f"This machine can run {fitting} of {len(jobs)} waiting jobs now."
    else:
        summary = f"This machine can run none of {len(jobs)} waiting jobs now."
    return MinerExplanation(
        miner_id=miner_id,
        summary=summary,
        waiting_jobs=len(jobs),
        kinds=sorted(kinds, key=lambda kind: -kind.jobs)[:MAX_KINDS],
    )


def _kinds(context: Context, jobs: Iterable[Waiting], miner: KnownMiner) -> list[WaitingKind]:
    """Return the waiting jobs by service, model and reasons."""
    grouped: defaultdict[_Kind, list[Waiting]] = defaultdict(list)
    for job in jobs:
        situation = feasibility.situation(context, job.service, job.model)
        # Jobs with the same obstacles are shown as one kind: there may be thousands of them.
        codes = hindrances(job, with_load(miner, context, job.service, job.model), situation)
        grouped[job.service, job.model, codes].append(job)
    return [
        WaitingKind(
            service_id=service,
            model=model,
            jobs=len(alike),
            reasons=_reasons(
                # The job that is nearest to running shows how little would suffice.
                _easiest(alike), with_load(miner, context, service, model), codes,
                JobSituation.of(feasibility.situation(context, service, model)),
            ),
        )
        for (service, model, codes), alike in grouped.items()
    ]  # fmt: skip


def _easiest(jobs: list[Waiting]) -> Waiting:
    """Return the job that demands the least of a miner: that with the highest budget, then the fewest resources."""
    return max(jobs, key=lambda job: (job.budget or 0, -job.gpus, -job.memory, -job.cpu))


def _reasons(
    job: Waiting, miner: KnownMiner, codes: Iterable[ReasonCode], situation: JobSituation
) -> list[Reason]:
    reasons = []
    for code in codes:
        words = WORDS[code](job, [miner], situation)
        action = OWNER_ACTIONS.get(code)
        remedy = (
            action(job, miner, situation) if action else "Nothing: only the job's client can change that."
        )
        # Which miner a client has chosen is no business of another owner.
        details = {} if code is ReasonCode.NOT_CHOSEN else dict(words.details)
        message = "The jobs name another miner." if code is ReasonCode.NOT_CHOSEN else words.message
        reasons.append(Reason(code=code, message=message, who=code.who, action=remedy, details=details))
    return reasons
