"""The logs of jobs, as their runs write them and their clients read them, within limits that no miner can exceed."""

from __future__ import annotations

from agent.coordinator.features.job_logs import store
from agent.coordinator.features.job_logs.settings import JobLogSettings
from agent.coordinator.features.job_logs.store import StoredLog
from agent.coordinator.hooks import RunReport
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.jobs.own_jobs import own
from agent.coordinator.store import jobs
from agent.coordinator.store.jobs import JobRecord
from agent.core.errors import Forbidden
from agent.core.job_log import Line, bounded
from agent.core.values.quantities import format_time
from agent.protocol.messages import RunLog
from agent.sections import section_of
from aitbc.answers.jobs import JobLog, JobLogEntry


def run_reported(connection: Connection, context: Context, report: RunReport) -> None:
    """Add lines to the log of the job's current run, as far as the limit allows, or store its whole log."""
    limits = section_of(context.settings, JobLogSettings)
    record, run_log, now = report.record, report.log, report.now
    if run_log is None:
        return
    if report.ends:
        _replace(connection, limits, record, run_log, now)
        return
    fence = record.life.fence
    space = limits.max_job_log - store.size_of(connection, record.job_id, fence)
    added, cut = [], run_log.truncated
    for line in _lines(record, run_log, now):
        # The beginning is stored while the run lasts; at its end, the miner sends a selection of the whole.
        if line.size > space:
            cut = True
            break
        space -= line.size
        added.append(line)
    if added:
        log = StoredLog(max(1, record.life.attempts), added, cut)
        store.append(connection, record.job_id, fence, log, now)
        store.forget_older_runs(connection, record.job_id, limits.max_job_log_runs)
    report.visible_lines += len(added)


def _replace(
    connection: Connection, limits: JobLogSettings, record: JobRecord, run_log: RunLog, now: float
) -> None:
    """Store the whole log of a run that ends."""
    lines, cut = bounded(_lines(record, run_log, now), limits.max_job_log)
    log = StoredLog(max(1, record.life.attempts), lines, cut or run_log.truncated)
    store.replace(connection, record.job_id, record.life.fence, log, now)
    store.forget_older_runs(connection, record.job_id, limits.max_job_log_runs)


def _lines(record: JobRecord, run_log: RunLog, now: float) -> list[Line]:
    # The miner's clock may be wrong: times before the run and in the future are corrected.
    begun = min(record.life.lease.assigned_at if record.life.lease is not None else now, now)
    return [Line(line.time, line.source, line.text).cleaned(begun, now) for line in run_log.entries]


def read(connection: Connection, caller: Caller, job_id: str) -> JobLog:
    """Return the lines that the runs of a job have written. Raises `JobNotFound`, and `Forbidden` for other accounts' administrators."""
    record = own(jobs.find(connection, job_id), caller, job_id)
    # Also administrators: a log may have the client's data.
    if record.account_id != caller.account_id:
        raise Forbidden(
            "Only the account that owns a job may read its log, because the log may contain the job's input."
        )
    parts = list(store.of_job(connection, job_id))
    return JobLog(
        job_id=job_id,
        entries=[
            JobLogEntry(time=format_time(line.time), attempt=part.attempt, source=line.source, text=line.text)
            for part in parts
            for line in part.lines
        ],
        truncated=any(part.truncated for part in parts),
    )


async def delete_old(context: Context) -> None:
    """Delete logs that are older than the setting allows."""
    created_before = context.clock() - section_of(context.settings, JobLogSettings).job_log_retention_seconds
    while await context.database.write(store.prune, created_before) == store.PRUNED_AT_ONCE:
        pass
