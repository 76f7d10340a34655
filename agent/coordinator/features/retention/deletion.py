"""Deletion of a job's data by its client: what proves and pays the work remains."""

from __future__ import annotations

from agent.coordinator import hooks, lifecycle
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.files import removal
from agent.coordinator.store import artifacts, jobs
from agent.core.errors import Conflict, JobNotFound
from agent.core.jobs import FINAL
from agent.core.values.quantities import format_time
from aitbc.answers.accounts import Role
from aitbc.answers.jobs import JobDataDeleted


async def delete(context: Context, caller: Caller, job_id: str) -> JobDataDeleted:
    """Delete a job's parameters, results, log, labels and files. May be repeated.

    Files that other jobs of the account use remain. Raises `JobNotFound`, and `Conflict` unless the job has ended.
    """
    deleted_at = await context.database.write(_delete, context, caller, job_id, context.clock())
    # Features may have submitted jobs of their own that have copies of the data.
    context.dispatcher.job_waiting()
    await removal.discard(context)
    return JobDataDeleted(job_id=job_id, deleted_at=format_time(deleted_at))


def _delete(connection: Connection, context: Context, caller: Caller, job_id: str, now: float) -> float:
    record = jobs.lock(connection, job_id)
    if record is None or (caller.role is not Role.ADMIN and record.account_id != caller.account_id):
        raise JobNotFound(job_id)
    if record.deleted_at is not None:
        return record.deleted_at
    state = record.life.state
    if state not in FINAL:
        raise Conflict(
            f"Job {job_id} is {state}. Cancel it or wait until it ends, then delete its data.",
            {"status": state.value},
        )
    hooks.retain(connection, context, jobs.only(job_id), now)
    artifacts.release(connection, [job_id], record.account_id)
    lifecycle.delete_data(connection, [record], now)
    return now
