"""Slows down miners that repeatedly release leases, and clients whose jobs repeatedly fail through their own fault."""

from __future__ import annotations

from typing import Final

from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import locks, miner_stats
from agent.coordinator.store import throttling as store
from agent.coordinator.store.jobs import JobRecord
from agent.coordinator.store.miner_stats import MinerStats, Work
from agent.coordinator.store.throttling import Releases
from agent.core.jobs import RETRY_SECONDS, Lease
from agent.core.market.throttling import (
    CLIENT_FAILURES_HALF_LIFE_SECONDS,
    MOST_CLIENT_FAILURES,
    RELEASES_HALF_LIFE_SECONDS,
    Tally,
    growing_pause,
)

FREE_RELEASES_OF_A_JOB: Final = 1
"""After this many releases of a job, a miner must wait before it gets that job again."""


def avoidance(connection: Connection, miner_id: str, now: float) -> float:
    """Return for how many seconds a miner does not get a job again that it releases now."""
    before = store.releases_of(connection, miner_id).tally.now(now, RELEASES_HALF_LIFE_SECONDS)
    times = round(before) + 1
    return growing_pause(times, FREE_RELEASES_OF_A_JOB, RETRY_SECONDS / 2)


def handed_back(
    connection: Connection, context: Context, record: JobRecord, lease: Lease, now: float
) -> None:
    """Count a lease that its miner released or could not work on.

    Leases released together count once: only a lease that was accepted after the last counted release counts again. Beyond the
    tolerated number, each one lowers the miner's reputation and pauses it, each time for twice as long.
    """
    locks.releases(connection, lease.miner_id)
    known = store.releases_of(connection, lease.miner_id)
    if lease.assigned_at < known.tally.at:
        return
    tally = known.tally.with_one(now, RELEASES_HALF_LIFE_SECONDS)
    settings = context.settings
    pause = growing_pause(tally.count, settings.releases_tolerated, settings.release_pause_seconds / 2)
    store.save_releases(connection, lease.miner_id, Releases(tally, now + pause if pause else 0.0))
    if pause:
        work = Work(lease.miner_id, record.account_id, MinerStats(), success=False)
        miner_stats.add(connection, [work], now)


def could_not_run(
    connection: Connection, context: Context, record: JobRecord, lease: Lease, now: float
) -> None:
    """Count a run that its miner could not perform, without a fault of its own.

    Beyond the tolerated number, each one pauses the service on that miner, each time for twice as long. Its other services and its
    reputation are not affected, since a client may have caused it.
    """
    locks.releases(connection, lease.miner_id)
    known = store.releases_of(connection, lease.miner_id, record.service)
    tally = known.tally.with_one(now, RELEASES_HALF_LIFE_SECONDS)
    settings = context.settings
    pause = growing_pause(tally.count, settings.releases_tolerated, settings.release_pause_seconds / 2)
    store.save_releases(
        connection, lease.miner_id, Releases(tally, now + pause if pause else 0.0), record.service
    )


def client_failed(connection: Connection, context: Context, record: JobRecord, now: float) -> None:
    """Count a failure that the client caused."""
    locks.tally(connection, record.account_id)
    tally = store.failures_of(connection, record.account_id).with_one(now, CLIENT_FAILURES_HALF_LIFE_SECONDS)
    most = MOST_CLIENT_FAILURES * context.settings.client_failures_tolerated
    store.save_failures(connection, record.account_id, Tally(min(tally.count, most), tally.at))
