"""The log of a job, as its client reads it."""

from __future__ import annotations

from agent.coordinator.operations.answers.jobs import JobLog, JobLogEntry
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.jobs.jobs import own
from agent.coordinator.store import job_logs
from agent.coordinator.store import jobs as store
from agent.core.errors import Forbidden
from agent.core.values.quantities import format_time


async def read(context: Context, caller: Caller, job_id: str) -> JobLog:
    """Return the lines that the runs of a job have written. Raises `JobNotFound`, and `Forbidden` for other accounts' administrators."""
    return await context.database.read(_read, caller, job_id)


def _read(connection: Connection, caller: Caller, job_id: str) -> JobLog:
    record = own(store.find(connection, job_id), caller, job_id)
    if record.account_id != caller.account_id:
        raise Forbidden(
            "Only the account that owns a job may read its log, because the log may contain the job's input."
        )
    parts = list(job_logs.of_job(connection, job_id))
    return JobLog(
        job_id=job_id,
        entries=[
            JobLogEntry(time=format_time(line.time), attempt=part.attempt, source=line.source, text=line.text)
            for part in parts
            for line in part.lines
        ],
        truncated=any(part.truncated for part in parts),
    )
