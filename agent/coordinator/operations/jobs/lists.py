"""Lists of jobs."""

from __future__ import annotations

from dataclasses import replace

from agent.coordinator.operations.answers.jobs import JobPage
from agent.coordinator.operations.callers import Caller, Role
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.jobs import validation as submissions
from agent.coordinator.operations.jobs.estimates import estimates
from agent.coordinator.operations.jobs.jobs import account_of, view
from agent.coordinator.store import job_lists
from agent.coordinator.store.job_lists import JobFilter


async def page(context: Context, caller: Caller, wanted: JobFilter, *, limit: int, offset: int) -> JobPage:
    """Return a page of the caller's jobs (of all jobs for an administrator), newest first.

    The filter's `service` may have any spelling of a job type. Raises `InvalidJobType`.
    """
    service = submissions.service_of(context, wanted.service).service_id if wanted.service else None
    account = None if caller.role is Role.ADMIN else account_of(caller)
    wanted = replace(wanted, account_id=account, service=service)
    records, total = await context.database.read(job_lists.page, wanted, limit=limit, offset=offset)
    expected = await estimates(context)
    now = context.clock()
    jobs = [view(record, expected, now) for record in records]
    return JobPage(jobs=jobs, total=total, limit=limit, offset=offset)
