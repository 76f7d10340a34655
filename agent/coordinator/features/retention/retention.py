"""Deletion of the data of a job by its client, and of what is older than its retention period, in slices that are short for other writes.

Payments, receipts, verdicts and the leaves of the log are never deleted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from agent.coordinator import hooks, lifecycle
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.files import removal
from agent.coordinator.store import artifacts, events, jobs
from agent.core.errors import Conflict, JobNotFound
from agent.core.jobs import FINAL
from agent.core.values.quantities import format_time, make_id
from aitbc.answers.accounts import Role
from aitbc.answers.jobs import JobDataDeleted

JOBS_AT_ONCE: Final = 50
"""Jobs whose data one transaction deletes."""


async def delete_jobs(context: Context) -> None:
    """Delete the data of jobs that ended before the retention period, as if their clients did. Jobs that features need wait."""
    seconds = context.settings.job_retention_seconds
    if seconds is None:
        return
    ended_before = context.clock() - seconds
    for state in sorted(FINAL):
        last_id = ""
        while page := await context.database.read(
            jobs.ended,
            state,
            ended_before,
            make_id("job", ended_before, bytes(10)),
            after_id=last_id,
            limit=JOBS_AT_ONCE,
        ):
            last_id = page[-1][0]
            by_account: defaultdict[str, list[str]] = defaultdict(list)
            for job_id, account_id in page:
                by_account[account_id].append(job_id)
            for account_id, job_ids in by_account.items():
                await context.database.write(_forget_jobs, context, account_id, job_ids, context.clock())
            await removal.discard(context)


def _forget_jobs(
    connection: Connection, context: Context, account_id: str, job_ids: Sequence[str], now: float
) -> None:
    locked = jobs.lock_many(connection, job_ids)
    retained = set[str]().union(*hooks.retain(connection, context, None, now))
    records = [
        record for record in locked.values() if record.deleted_at is None and record.job_id not in retained
    ]
    if records:
        artifacts.release(connection, [record.job_id for record in records], account_id)
        lifecycle.delete_data(connection, records, now)


async def delete_events(context: Context) -> None:
    """Delete changes that clients can no longer request."""
    created_before, last_seq = context.clock() - context.settings.event_retention_seconds, 0
    # Each slice begins where the last one ended: before that, PostgreSQL may have to pass many deleted rows.
    while await context.database.read(events.any_before, created_before, after_seq=last_seq):
        last_seq = await context.database.write(events.prune, created_before, after_seq=last_seq)


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
