"""Lists of jobs."""

from __future__ import annotations

from dataclasses import replace

from agent.coordinator.operations.answers.jobs import JobPage, LabelCount, LabelCounts
from agent.coordinator.operations.callers import Caller, Role
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.jobs import validation
from agent.coordinator.operations.jobs.jobs import account_of, estimates_for, view
from agent.coordinator.store import job_lists
from agent.coordinator.store.job_lists import JobFilter
from agent.core.errors import Forbidden


async def page(context: Context, caller: Caller, wanted: JobFilter, *, limit: int, offset: int) -> JobPage:
    """Return a page of the caller's jobs, newest first; for an administrator those of all accounts, or of the filter's.

    The filter's `service` may have any spelling of a job type. Raises `InvalidJobType`, `Forbidden`.
    """
    service = validation.service_of(context, wanted.service).service_id if wanted.service else None
    account = wanted.account_id if caller.role is Role.ADMIN else account_of(caller)
    if wanted.account_id not in (None, account):
        raise Forbidden("Only administrators see the jobs of other accounts.")
    wanted = replace(wanted, account_id=account, service=service)
    records, total = await context.database.read(job_lists.page, wanted, limit=limit, offset=offset)
    now = context.clock()
    jobs = [view(record, await estimates_for(context, record), now) for record in records]
    return JobPage(jobs=jobs, total=total, limit=limit, offset=offset)


async def label_counts(context: Context, caller: Caller, key: str | None, limit: int) -> LabelCounts:
    """Return the labels of the caller's jobs with the number of jobs that have each; for an administrator those of all accounts."""
    account = None if caller.role is Role.ADMIN else account_of(caller)
    found = await context.database.read(job_lists.label_counts, account_id=account, key=key, limit=limit + 1)
    return LabelCounts(
        labels=[LabelCount(key=one.key, value=one.value, jobs=one.jobs) for one in found[:limit]],
        more=len(found) > limit,
    )
