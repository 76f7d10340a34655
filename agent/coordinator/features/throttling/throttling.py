"""Slows down miners that repeatedly release leases, and clients whose jobs repeatedly fail through their own fault."""

from __future__ import annotations

from typing import Final

from agent.coordinator.features.throttling import store
from agent.coordinator.features.throttling.rules import (
    CLIENT_FAILURES_HALF_LIFE_SECONDS,
    MOST_CLIENT_FAILURES,
    RELEASES_HALF_LIFE_SECONDS,
    Tally,
    growing_pause,
)
from agent.coordinator.features.throttling.settings import ThrottlingSettings
from agent.coordinator.features.throttling.store import Releases
from agent.coordinator.hooks import AccountLimit, Restraints, RunReport
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import locks
from agent.coordinator.store.jobs import JobRecord
from agent.core.jobs import RETRY_SECONDS, Lease, Release
from agent.sections import section_of
from agent.settings.coordinator import CoordinatorSettings
from runners.errors import TOO_LARGE, UNABLE

FREE_RELEASES_OF_A_JOB: Final = 1
"""After this many releases of a job, a miner must wait before it gets that job again."""


def run_reported(connection: Connection, context: Context, report: RunReport) -> None:
    """Count what the return of a lease says about its miner or its client, and set how long the miner avoids the job."""
    record, event = report.record, report.returned
    if event is None:
        return
    lease = record.life.lease
    if isinstance(event, Release):
        report.avoid_seconds = _avoidance(connection, event.miner_id, event.now)
        report.blamed = lease is not None and _handed_back(connection, context, lease, event.now)
        return
    code = event.failure.code
    # A failure that would happen again on every miner is the client's.
    if not event.retry or code in TOO_LARGE:
        _client_failed(connection, context, record, event.now)
    if event.retry and code in UNABLE and lease is not None:
        _could_not_run(connection, context, record, lease, event.now)


def restraints(connection: Connection, settings: CoordinatorSettings, now: float) -> Restraints:
    """Return the paused miners, and how many jobs may run at a time of the accounts whose jobs fail too often by their own fault."""
    throttling = section_of(settings, ThrottlingSettings)
    tolerated = throttling.client_failures_tolerated
    ends = {
        account_id: tally.below(tolerated, CLIENT_FAILURES_HALF_LIFE_SECONDS)
        for account_id, tally in store.many_failures(connection, tolerated).items()
    }
    accounts = {
        account_id: AccountLimit(throttling.slowed_jobs, until)
        for account_id, until in ends.items()
        if until is not None and until > now
    }
    return Restraints(store.pauses(connection, now), accounts)


def _avoidance(connection: Connection, miner_id: str, now: float) -> float:
    """Return for how many seconds a miner does not get a job again that it releases now."""
    count = store.releases_of(connection, miner_id).tally.now(now, RELEASES_HALF_LIFE_SECONDS)
    # This release is counted afterwards.
    times = round(count) + 1
    return growing_pause(times, FREE_RELEASES_OF_A_JOB, RETRY_SECONDS / 2)


def _handed_back(connection: Connection, context: Context, lease: Lease, now: float) -> bool:
    """Count a lease that its miner released or could not work on. Return whether the miner is blamed for it.

    Leases released together count once: only a lease that was accepted after the last counted release counts again. Beyond the
    tolerated number, the miner is blamed for each one and paused, each time for twice as long.
    """
    locks.wait(connection, f"releases {lease.miner_id}")
    former = store.releases_of(connection, lease.miner_id)
    # A machine that is switched off returns all its leases at once, which is one event and not many.
    if lease.assigned_at < former.tally.at:
        return False
    tally = former.tally.with_one(now, RELEASES_HALF_LIFE_SECONDS)
    settings = section_of(context.settings, ThrottlingSettings)
    pause = growing_pause(tally.count, settings.releases_tolerated, settings.release_pause_seconds / 2)
    store.save_releases(connection, lease.miner_id, Releases(tally, now + pause if pause else 0.0))
    return bool(pause)


def _could_not_run(
    connection: Connection, context: Context, record: JobRecord, lease: Lease, now: float
) -> None:
    """Count a run that its miner could not perform, without a fault of its own.

    Beyond the tolerated number, each one pauses the service on that miner, each time for twice as long. Its other services and its
    reputation are not affected, since a client may have caused it.
    """
    # Several runs of one miner may end at the same time, and each must count.
    locks.wait(connection, f"releases {lease.miner_id}")
    former = store.releases_of(connection, lease.miner_id, record.service)
    tally = former.tally.with_one(now, RELEASES_HALF_LIFE_SECONDS)
    settings = section_of(context.settings, ThrottlingSettings)
    pause = growing_pause(tally.count, settings.releases_tolerated, settings.release_pause_seconds / 2)
    store.save_releases(
        connection, lease.miner_id, Releases(tally, now + pause if pause else 0.0), record.service
    )


def _client_failed(connection: Connection, context: Context, record: JobRecord, now: float) -> None:
    """Count a failure that the client caused."""
    locks.wait(connection, f"tally {record.account_id}")
    tally = store.failures_of(connection, record.account_id).with_one(now, CLIENT_FAILURES_HALF_LIFE_SECONDS)
    max_count = (
        MOST_CLIENT_FAILURES * section_of(context.settings, ThrottlingSettings).client_failures_tolerated
    )
    # Limited, so that an account is free again soon after it has corrected its jobs.
    store.save_failures(connection, record.account_id, Tally(min(tally.count, max_count), tally.at))
