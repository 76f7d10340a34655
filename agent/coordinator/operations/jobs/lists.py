"""Lists of jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from agent.coordinator.operations.answers.jobs import JobPage, LabelCount, LabelCounts
from agent.coordinator.operations.caches import Fleet
from agent.coordinator.operations.callers import Caller, Role
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.jobs import feasibility, validation
from agent.coordinator.operations.jobs.estimates import estimates
from agent.coordinator.operations.jobs.jobs import account_of, view
from agent.coordinator.operations.supply import fleet
from agent.coordinator.store import job_lists
from agent.coordinator.store.job_lists import JobFilter
from agent.coordinator.store.jobs import JobRecord
from agent.core.errors import Forbidden
from agent.core.jobs import JobState

MAX_COMPARED: Final = 3000
"""Pairs of a waiting job and a miner that a list compares, so about 30 ms. Jobs of a kind count once; others have no estimate in the list."""


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
    known, expected = await fleet(context), await estimates(context)
    examined = _examined(context, known, records)
    jobs = [
        view(record, expected if may_run else None, now)
        for record, may_run in zip(records, examined, strict=True)
    ]
    return JobPage(jobs=jobs, total=total, limit=limit, offset=offset)


def _examined(context: Context, known: Fleet, records: Sequence[JobRecord]) -> Iterator[bool]:
    """Yield whether each job runs, or waits and can be taken by a known miner; False for those beyond `MAX_COMPARED`."""
    left = MAX_COMPARED
    for record in records:
        if record.life.state is not JobState.SUBMITTED:
            yield True
        elif (answered := feasibility.answered(known, record)) or left > 0:
            left -= 0 if answered else len(known.miners)
            yield feasibility.runnable(context, known, record)
        else:
            yield False


async def label_counts(context: Context, caller: Caller, key: str | None, limit: int) -> LabelCounts:
    """Return the labels of the caller's jobs with the number of jobs that have each; for an administrator those of all accounts."""
    account = None if caller.role is Role.ADMIN else account_of(caller)
    found = await context.database.read(job_lists.label_counts, account_id=account, key=key, limit=limit + 1)
    return LabelCounts(
        labels=[LabelCount(key=one.key, value=one.value, jobs=one.jobs) for one in found[:limit]],
        more=len(found) > limit,
    )
