"""The data of jobs that audits and canaries need: whose deletion waits, and what is copied before it."""

from __future__ import annotations

from typing import Final

from agent.coordinator.features.audits import canaries
from agent.coordinator.features.audits.rounds import asking
from agent.coordinator.features.audits.store import audits
from agent.coordinator.features.audits.store.canaries import of_jobs, sources
from agent.coordinator.hooks import JobIds
from agent.coordinator.operations.context import Connection, Context

MAX_ASKED: Final = 20
"""Limit of audit jobs that the deletion of a file submits."""


def retain(connection: Connection, context: Context, jobs: JobIds | None, now: float) -> set[str]:
    """Submit the audit jobs that need data of these jobs: they refer to the files, and contain the rest. Delete the canaries that these jobs are.

    With None, return the jobs of unfinished audits, and those that gave known answers.
    """
    if jobs is None:
        return audits.jobs_in_use(connection) | sources(connection)
    # What is about to be deleted can only be compared if the audit job copies it now.
    for root in audits.unasked_of_jobs(connection, jobs, MAX_ASKED):
        asking.ask_now(connection, context, root)
    # A canary is a copy of the job, so a client who deletes the job deletes it too.
    canaries.forget(connection, of_jobs(connection, jobs), now)
    return set()
