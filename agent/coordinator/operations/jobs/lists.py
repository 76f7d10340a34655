"""Lists of jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from agent.coordinator import hooks
from agent.coordinator.hooks import View
from agent.coordinator.operations.answers import JobPage
from agent.coordinator.operations.caches import Fleet
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.jobs import feasibility, validation
from agent.coordinator.operations.jobs.estimates import estimates
from agent.coordinator.operations.jobs.own_jobs import view
from agent.coordinator.operations.jobs.requests import JobFilters
from agent.coordinator.operations.supply import fleet
from agent.coordinator.store import job_lists
from agent.coordinator.store.job_lists import JobFilter
from agent.coordinator.store.jobs import JobRecord
from agent.core.errors import Forbidden
from agent.core.jobs import JobState
from aitbc.answers.accounts import Role

MAX_COMPARED: Final = 3000
"""Pairs of a waiting job and a miner that a list compares, so about 30 ms. Jobs of a kind count once; others have no estimate in the list."""


async def page(context: Context, caller: Caller, filters: JobFilters) -> JobPage:
    """Return a page of the caller's jobs, newest first; for an administrator those of all accounts, or of the filter's.

    The filter's `type` may have any spelling of a job type. Raises `InvalidJobType`, `Forbidden`, and what the features' filters raise.
    """
    service = validation.service_of(context, filters.type).service_id if filters.type else None
    account_id = filters.account_id if caller.role is Role.ADMIN else caller.account_of("Jobs")
    # An error, because an empty list would mean that the other account has no jobs.
    if filters.account_id not in (None, account_id):
        raise Forbidden("Only administrators see the jobs of other accounts.")
    job_filter = JobFilter(
        account_id=account_id,
        status=None if filters.status is None else filters.status.value,
        service=service,
        name=filters.name,
        miner_id=filters.miner_id,
        narrowings=tuple(
            narrowing for narrowing in hooks.filter_jobs(context.settings, filters, account_id) if narrowing
        ),
    )
    # One read, so that the total and the page are of the same moment.
    records, fields, total = await context.database.read(_page, job_filter, filters.limit, filters.offset)
    now = context.clock()
    known_fleet, expected = await fleet(context), await estimates(context)
    examined = _examined(context, known_fleet, records)
    jobs = [
        view(record, fields[record.job_id], expected if may_run else None, now)
        for record, may_run in zip(records, examined, strict=True)
    ]
    return JobPage(jobs=jobs, total=total, limit=filters.limit, offset=filters.offset)


def _page(
    connection: Connection, job_filter: JobFilter, limit: int, offset: int
) -> tuple[list[JobRecord], dict[str, dict[str, Any]], int]:
    """Return jobs, the features' fields of answers about them, and the number of all that the filter shows."""
    records, total = job_lists.page(connection, job_filter, limit=limit, offset=offset)
    return records, hooks.describe_jobs(connection, records, View.STATUS), total


def _examined(context: Context, known_fleet: Fleet, records: Sequence[JobRecord]) -> Iterator[bool]:
    """Yield whether each job runs, or waits and can be taken by a known miner; False for those beyond `MAX_COMPARED`."""
    budget = MAX_COMPARED
    for record in records:
        if record.life.state is not JobState.SUBMITTED:
            yield True
        elif (answered := feasibility.answered(known_fleet, record)) or budget > 0:
            budget -= 0 if answered else len(known_fleet.miners)
            yield feasibility.runnable(context, known_fleet, record)
        else:
            yield False
