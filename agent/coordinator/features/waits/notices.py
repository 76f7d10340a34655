"""Notices to clients whose jobs wait for long."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import structlog

from agent.coordinator import hooks
from agent.coordinator.consequences import Change, job_update
from agent.coordinator.features.waits import store
from agent.coordinator.features.waits.clients import reason_answer
from agent.coordinator.features.waits.explanation import explain
from agent.coordinator.features.waits.reading import situation_of
from agent.coordinator.features.waits.settings import WaitSettings
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import events, jobs
from agent.coordinator.store.jobs import JobRecord
from agent.core.jobs import JobState
from agent.sections import section_of
from aitbc.answers.jobs import JobWaiting

SECONDS: Final = 1.0
AT_ONCE: Final = 20
"""Notices of one round, so that a long queue delays nothing else."""

log = structlog.get_logger()


async def notify(context: Context) -> None:
    """Notify the clients of jobs that have waited for `coordinator.notify_waiting_seconds`, each job once."""
    created_before = context.clock() - section_of(context.settings, WaitSettings).notify_waiting_seconds
    due = await context.database.read(_due, context, created_before)
    if due and (notified := await context.database.write(_notify, context, due)):
        log.info("clients_notified", jobs=notified)


def _due(
    connection: Connection, context: Context, created_before: float
) -> list[tuple[JobRecord, JobWaiting]]:
    """Return jobs whose clients are to be notified, with the notices."""
    return [
        (record, _notice(connection, context, record))
        for record in store.waiting_since(connection, created_before, AT_ONCE)
        # A job that ran before has waited only since its last run ended.
        if not record.life.fence or _requeued_at(connection, record) < created_before
    ]


def _requeued_at(connection: Connection, record: JobRecord) -> float:
    """Return when the newest run of the job ended."""
    return max((run["ended_at"] for run in jobs.runs_of(connection, record.job_id)), default=0.0)


def _notice(connection: Connection, context: Context, record: JobRecord) -> JobWaiting:
    explanation = explain(*situation_of(connection, context, record))
    return JobWaiting(
        summary=explanation.summary,
        can_run=explanation.can_run,
        reasons=[reason_answer(reason) for reason in explanation.reasons],
    )


def _notify(connection: Connection, context: Context, due: list[tuple[JobRecord, JobWaiting]]) -> int:
    # The explanations took a while, and some jobs may have started since.
    current = jobs.lock_many(connection, [record.job_id for record, _ in due])
    notified = 0
    for record, notice in due:
        now = current.get(record.job_id)
        if now is not None and now.life.state is JobState.SUBMITTED:
            notified += _notify_client(connection, now, notice, context.clock())
    return notified


def _notify_client(connection: Connection, record: JobRecord, notice: JobWaiting, now: float) -> bool:
    """Notify the client of a job why it waits: with an event. Return False, changing nothing, if the client was notified before."""
    # Marked first: of two rounds that find the same reason, only one sends the event.
    if not store.mark_notified(connection, record.job_id, now):
        return False
    event = job_update(record, record.life, None, 0, now)
    waiting = notice.model_dump(mode="json")
    events.add(connection, [replace(event, data={**event.data, "waiting": waiting})], now)
    waits_for = tuple(reason["code"] for reason in waiting["reasons"])
    hooks.jobs_changed(connection, [Change(record, record.life, (), waits_for=waits_for)], {}, now)
    return True
