"""Labels in requests for jobs, in answers about them and in filters of lists; and which labels there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from agent.coordinator.features.labels import store
from agent.coordinator.features.labels.fields import LabelFilter, LabelOptions
from agent.coordinator.features.labels.settings import LabelSettings
from agent.coordinator.features.labels.store import Label
from agent.coordinator.hooks import CheckedRequest, JobFields, NewJob, View
from agent.coordinator.job_fields import FilterFields, fields_of
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store.job_lists import Narrowing
from agent.coordinator.store.jobs import JobRecord
from agent.core.errors import invalid_request
from agent.sections import section_of
from agent.settings.coordinator import CoordinatorSettings
from aitbc.answers.accounts import Role
from aitbc.answers.jobs import LabelCount, LabelCounts

MAX_FILTERS: Final = 100
"""Labels by which a list is filtered at most, also where jobs may have more: the database looks each of them up."""


def check_request(request: CheckedRequest) -> None:
    """Report more labels than a job may have."""
    number = len(fields_of(request.options, LabelOptions).labels)
    limit = section_of(request.settings, LabelSettings).max_labels
    # Checked here and not in the schema, since the operator sets the limit.
    if number > limit:
        request.errors["labels"] = f"a job may have {limit} labels, and this one has {number}"


def jobs_submitted(connection: Connection, jobs: Sequence[NewJob], _: float) -> None:
    """Store the labels of new jobs."""
    labels = [
        (job.record.job_id, job.record.account_id, label)
        for job in jobs
        for label in fields_of(job.options, LabelOptions).labels.items()
    ]
    store.add(connection, labels)


def describe_jobs(connection: Connection, records: Sequence[JobRecord], view: View) -> JobFields:
    """Return the labels of jobs as a field of answers and as an option."""
    if view in (View.LEASE, View.REASONS):
        return {}
    job_ids = [record.job_id for record in records]
    return {job_id: {"labels": labels} for job_id, labels in store.of_jobs(connection, job_ids).items()}


def filter_jobs(
    settings: CoordinatorSettings, filters: FilterFields, account_id: str | None
) -> Narrowing | None:
    """Return the condition of a list's filter by labels. Raises `ValidationFailed`."""
    labels = _parsed(settings, fields_of(filters, LabelFilter).label)
    return store.narrowing(labels, account_id) if labels else None


def _parsed(settings: CoordinatorSettings, filters: Sequence[str]) -> list[Label]:
    """Return the keys and values of `label=key:value` filters. Raises `ValidationFailed`, also for more than a job can have."""
    # Each filter is a join, so their number is limited even where jobs may have more labels.
    limit = min(max(1, section_of(settings, LabelSettings).max_labels), MAX_FILTERS)
    if len(filters) > limit:
        raise invalid_request(
            {"label": f"a list is filtered by at most {limit} labels, not {len(filters)}; remove some"},
        )
    pairs = [text.partition(":") for text in filters]
    if any(not colon or not key for key, colon, _ in pairs):
        raise invalid_request({"label": "write it as key:value, for example project:podcast"})
    return [(key, value) for key, _, value in pairs]


async def counts(context: Context, caller: Caller, key: str | None, limit: int) -> LabelCounts:
    """Return the labels of the caller's jobs with the number of jobs that have each; for an administrator those of all accounts."""
    account_id = None if caller.role is Role.ADMIN else caller.account_of("Jobs")
    # One more than is shown shows whether there are others.
    labels = await context.database.read(store.counts, account_id=account_id, key=key, limit=limit + 1)
    return LabelCounts(
        labels=[LabelCount(key=label.key, value=label.value, jobs=label.jobs) for label in labels[:limit]],
        more=len(labels) > limit,
    )
