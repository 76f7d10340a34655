"""Why a job does not run: the answers to its client."""

from __future__ import annotations

from typing import Final

from agent.coordinator.features.waits.explanation import Explanation, explain
from agent.coordinator.features.waits.reading import situation_of
from agent.coordinator.features.waits.words import JobSituation
from agent.coordinator.hooks import Refusal
from agent.coordinator.operations.caches import Estimates
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.jobs import own_jobs
from agent.coordinator.operations.jobs.estimates import estimates
from agent.coordinator.store import queue
from agent.coordinator.store.jobs import JobRecord
from agent.core.errors import CannotRun
from agent.core.feasibility import runnable_on
from agent.core.jobs import JobState
from agent.core.matching import Waiting
from agent.core.values.quantities import format_optional_time, format_time
from agent.core.waiting_reasons import WaitingReason
from aitbc.answers.jobs import JobExplanation, MinerReasons, Reason
from aitbc.reasons import CanRun

MAX_MINERS: Final = 50
"""Miners that an answer lists."""
_ENDED: Final = {
    JobState.RUNNING: "It is running.",
    JobState.COMPLETED: "It has completed.",
    JobState.CANCELLED: "It was cancelled.",
}


async def of_job(context: Context, caller: Caller, job_id: str) -> JobExplanation:
    """Return why the caller's job does not run, in any state of the job. Raises `JobNotFound`."""
    record = await own_jobs.find(context, caller, job_id)
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
    explanation = explain(job, situation)
    starts = _start(job, situation, expected, explanation)
    return _answer(record, explanation, explanation.summary, situation, starts)


def _answer(
    record: JobRecord,
    explanation: Explanation,
    summary: str,
    situation: JobSituation | None = None,
    starts: float | None = None,
) -> JobExplanation:
    ahead = None if situation is None or situation.ahead is None else len(situation.ahead)
    return JobExplanation(
        job_id=record.job_id,
        status=record.life.state.value,
        summary=summary,
        can_run=explanation.can_run,
        reasons=[reason_answer(reason) for reason in explanation.reasons],
        position=None if ahead is None else ahead + 1,
        ahead=ahead,
        estimated_start=format_optional_time(starts),
        miners=[
            MinerReasons(miner_id=miner.miner_id, name=miner.name, reasons=list(codes))
            for miner, codes in explanation.by_miner[:MAX_MINERS]
        ],
        submitted_at=format_time(record.created_at),
        started_at=format_optional_time(record.life.started_at),
        finished_at=format_optional_time(record.life.finished_at),
    )


def _start(
    job: Waiting, situation: JobSituation, expected: Estimates, explanation: Explanation
) -> float | None:
    """Return when the job starts, None unless measured durations show it."""
    if explanation.can_run == "now":
        return situation.now
    ready = [miner for miner in situation.miners if runnable_on(job, miner, situation)]
    # Nobody knows when a miner comes back, or when the client uploads its files.
    if not ready or explanation.can_run == "never" or situation.ahead is None or situation.missing_files:
        return None
    durations = [
        expected.typical.get((earlier_job.service, earlier_job.model or ""))
        for earlier_job in situation.ahead
    ]
    own_seconds = expected.typical.get((job.service, job.model or ""))
    # Without measurements, no estimate is better than a wrong one.
    if own_seconds is None or None in durations:
        return None
    # The jobs that run now end after half of their time on average; they are taken to be like this one.
    slots = sum(miner.candidate.slots for miner in ready)
    return situation.now + own_seconds / 2 + sum(duration or 0.0 for duration in durations) / slots


def job_refused(_connection: Connection, _context: Context, refusal: Refusal) -> None:
    """Add the reasons to the error for a job that no known miner can ever run."""
    if refusal.error is None:
        return
    # The same words as for waiting jobs, so that a refusal says what would help.
    explanation = explain(queue.waiting_job(refusal.job.record), JobSituation.of(refusal.situation))
    reasons = [reason_answer(reason).model_dump(mode="json") for reason in explanation.reasons]
    refusal.error = CannotRun(f"{refusal.error.message} {explanation.summary}", {"reasons": reasons})


def reason_answer(reason: WaitingReason) -> Reason:
    """Return a reason as answers show it."""
    return Reason(
        code=reason.code,
        message=reason.message,
        who=reason.who,
        action=reason.action,
        details=dict(reason.details),
    )
