"""Storing the logs of jobs as their runs write them, within limits that no miner can exceed."""

from __future__ import annotations

from agent.coordinator.operations.context import Connection
from agent.coordinator.store import job_logs
from agent.coordinator.store.job_logs import RunLog
from agent.coordinator.store.jobs import JobRecord
from agent.core.job_log import Line, bounded
from agent.protocol.messages import RunLog as SentLog
from agent.settings import CoordinatorSettings


def append(
    connection: Connection, settings: CoordinatorSettings, record: JobRecord, sent: SentLog, now: float
) -> list[Line]:
    """Add lines to the log of the job's current run, as far as the limit allows. Return the added lines."""
    fence = record.life.fence
    left = settings.max_job_log - job_logs.size_of(connection, record.job_id, fence)
    added, cut = [], sent.truncated
    for line in _lines(record, sent, now):
        if line.size > left:
            cut = True
            break
        left -= line.size
        added.append(line)
    if added:
        log = RunLog(max(1, record.life.attempts), added, cut)
        job_logs.append(connection, record.job_id, fence, log, now)
        job_logs.forget_older_runs(connection, record.job_id, settings.max_job_log_runs)
    return added


def replace(
    connection: Connection,
    settings: CoordinatorSettings,
    record: JobRecord,
    sent: SentLog | None,
    now: float,
) -> None:
    """Store the whole log of a run that ends. A run that has written nothing sends none."""
    if sent is None:
        return
    lines, cut = bounded(_lines(record, sent, now), settings.max_job_log)
    log = RunLog(max(1, record.life.attempts), lines, cut or sent.truncated)
    job_logs.replace(connection, record.job_id, record.life.fence, log, now)
    job_logs.forget_older_runs(connection, record.job_id, settings.max_job_log_runs)


def _lines(record: JobRecord, sent: SentLog, now: float) -> list[Line]:
    begun = min(record.life.lease.assigned_at if record.life.lease is not None else now, now)
    return [Line(line.time, line.source, line.text).cleaned(begun, now) for line in sent.entries]
