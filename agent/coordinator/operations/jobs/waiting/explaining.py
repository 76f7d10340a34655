"""Why a job does not run: the answer to its client."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from agent.coordinator.dispatch.claims import slowed_accounts
from agent.coordinator.dispatch.fleet import known_miners
from agent.coordinator.operations.answers.jobs import JobExplanation, MinerReasons
from agent.coordinator.operations.caches import Estimates
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.jobs import jobs
from agent.coordinator.operations.jobs.estimates import estimates
from agent.coordinator.operations.jobs.waiting.feasibility import basis_of, reason_answer, with_load
from agent.coordinator.store import counts, queue
from agent.coordinator.store import jobs as store
from agent.coordinator.store import offers as offer_store
from agent.coordinator.store.jobs import JobRecord
from agent.core.explaining import (
    CanRun,
    Explanation,
    Failed,
    KnownMiner,
    Situation,
    able,
    elsewhere,
    explain,
)
from agent.core.jobs import JobState, Outcome
from agent.core.market.offers import OfferState
from agent.core.matching import Waiting, fits, in_turn
from agent.core.values.quantities import format_optional_time

MAX_MINERS: Final = 50
"""Miners that an answer lists."""
_ENDED: Final = {
    JobState.RUNNING: "It is running.",
    JobState.COMPLETED: "It has completed.",
    JobState.CANCELLED: "It was cancelled.",
}


async def explanation(context: Context, caller: Caller, job_id: str) -> JobExplanation:
    """Return why the caller's job does not run, in any state of the job. Raises `JobNotFound`."""
    record = await jobs.find(context, caller, job_id)
    state = record.life.state
    if state is not JobState.SUBMITTED:
        failure = record.life.failure
        ended = (
            f"It failed: {failure.message}" if state is JobState.FAILED and failure else _ENDED.get(state, "")
        )
        can_run: CanRun = "now" if state in (JobState.RUNNING, JobState.COMPLETED) else "never"
        return _answer(record, Explanation(can_run, ()), ended or "It has failed.")
    expected = await estimates(context)
    job, situation = await context.database.read(situation_of, context, record)
    found = explain(job, situation)
    starts = _start(job, situation, expected, found)
    return _answer(record, found, found.summary, situation, starts)


def _answer(
    record: JobRecord,
    found: Explanation,
    summary: str,
    situation: Situation | None = None,
    starts: float | None = None,
) -> JobExplanation:
    ahead = None if situation is None or situation.ahead is None else len(situation.ahead)
    return JobExplanation(
        job_id=record.job_id,
        status=record.life.state.value,
        summary=summary,
        can_run=found.can_run,
        reasons=[reason_answer(reason) for reason in found.reasons],
        position=None if ahead is None else ahead + 1,
        ahead=ahead,
        estimated_start=format_optional_time(starts),
        miners=[
            MinerReasons(miner_id=miner.miner_id, name=miner.name, reasons=list(codes))
            for miner, codes in found.by_miner[:MAX_MINERS]
        ],
    )


def situation_of(connection: Connection, context: Context, record: JobRecord) -> tuple[Waiting, Situation]:
    """Return a waiting job and everything that decides when it runs."""
    now = context.clock()
    job = queue.waiting_job(record)
    failures = [
        Failed(run["miner_id"], run["failure_code"] or "", run["failure_message"] or "")
        for run in store.runs_of(connection, record.job_id)
        if run["outcome"] == Outcome.RETRIED
    ]
    miners = [
        with_load(miner, context, job.service, job.model)
        for miner in known_miners(connection, context.settings, now)
    ]
    failed_on = frozenset(failed.miner_id for failed in failures)
    if failed_on and elsewhere(job, miners, failed_on, now):
        job = replace(job, avoided=failed_on)
    running = counts.running(connection, [record.account_id])
    limits = slowed_accounts(connection, context.settings, now)
    basis = replace(basis_of(context, record), miners=miners, now=now)
    ready = [miner for miner in miners if able(job, miner, basis)]
    situation = replace(
        basis,
        missing_files=json.loads(record.missing_files or "[]"),
        failures=failures,
        offer_ended=_ended_offer(connection, record, now),
        running=running.get(record.account_id, 0),
        limit=limits.get(record.account_id),
        ahead=None if not ready else _ahead(connection, job, ready, limits, now),
    )
    return job, situation


def _ended_offer(connection: Connection, record: JobRecord, now: float) -> str | None:
    offer = None if record.offer_id is None else offer_store.find(connection, record.offer_id)
    ended = offer is not None and offer.status(now) in (OfferState.WITHDRAWN, OfferState.EXPIRED)
    return record.offer_id if ended else None


def _ahead(
    connection: Connection,
    job: Waiting,
    ready: Sequence[KnownMiner],
    limits: Mapping[str, int],
    now: float,
) -> list[Waiting]:
    """Return the jobs that come first at the miners that can run this one."""
    candidates = [miner.candidate for miner in ready]
    waiting = {other.job_id: other for other in queue.waiting(connection, candidates)} | {job.job_id: job}
    load = Counter(counts.running(connection, sorted({other.account_id for other in waiting.values()})))
    ahead = []
    for other in in_turn(waiting.values(), load, now, limits):
        if other.job_id == job.job_id:
            break
        if any(fits(other, candidate, now) for candidate in candidates):
            load[other.account_id] += 1
            ahead.append(other)
    return ahead


def _start(job: Waiting, situation: Situation, expected: Estimates, found: Explanation) -> float | None:
    """Return when the job starts, None unless measured durations show it."""
    if found.can_run == "now":
        return situation.now
    ready = [miner for miner in situation.miners if able(job, miner, situation)]
    if not ready or found.can_run == "never" or situation.ahead is None or situation.missing_files:
        return None
    durations = [expected.typical.get((other.service, other.model or "")) for other in situation.ahead]
    own = expected.typical.get((job.service, job.model or ""))
    if own is None or None in durations:
        return None
    # The jobs that run now end after half of their time on average; they are taken to be like this one.
    slots = sum(miner.candidate.slots for miner in ready)
    return situation.now + own / 2 + sum(duration or 0.0 for duration in durations) / slots
