"""Exclusion of miners by operators: a miner's session ends at once, its jobs go to others, and it cannot register."""

from __future__ import annotations

import secrets

import structlog

from agent.coordinator import lifecycle
from agent.coordinator.operations.accounts.access import digest
from agent.coordinator.operations.answers.miners import Exclusion, Inclusion
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.miners.sessions import end_lease, exclusion_of
from agent.coordinator.store import jobs as job_store
from agent.coordinator.store import miners as store
from agent.core.errors import ApiError, NotFound, Unauthorized
from agent.core.jobs import JobState, Release
from agent.core.values.quantities import format_time

log = structlog.get_logger()


async def exclude(context: Context, miner_id: str, reason: str) -> Exclusion:
    """Exclude a miner. Its running jobs are queued again, without a counted attempt. Raises `NotFound`."""
    now = context.clock()
    requeued = await context.database.write(_exclude, miner_id, reason or None, now)
    _end_session(context, miner_id, exclusion_of(reason or None))
    context.dispatcher.job_waiting()
    log.warning("miner_excluded", miner_id=miner_id, requeued=requeued)
    return Exclusion(miner_id=miner_id, excluded_at=format_time(now), requeued_jobs=requeued)


def _exclude(connection: Connection, miner_id: str, reason: str | None, now: float) -> int:
    _require(connection, miner_id)
    store.set_exclusion(connection, miner_id, now, reason)
    requeued = 0
    for record in job_store.leased_by(connection, miner_id):
        lease = record.life.lease
        if lease is None:
            continue
        if record.life.state is JobState.RUNNING:
            lifecycle.change(connection, record, Release(miner_id, lease.fence, now), now)
            requeued += 1
        else:  # its lease has expired; a late result is no longer accepted
            end_lease(connection, record, now, "the miner was excluded", forget=True)
    return requeued


async def include(context: Context, miner_id: str) -> Inclusion:
    """Let an excluded miner register again. Raises `NotFound`."""
    await context.database.write(_include, miner_id)
    log.info("miner_included", miner_id=miner_id)
    return Inclusion(miner_id=miner_id)


def _include(connection: Connection, miner_id: str) -> None:
    _require(connection, miner_id)
    store.set_exclusion(connection, miner_id, None, None)


def _require(connection: Connection, miner_id: str) -> None:
    if store.find(connection, miner_id) is None:
        raise NotFound(f"There is no miner {miner_id}.", {"miner_id": miner_id})


async def end_session_of_key(context: Context, miner_id: str) -> None:
    """End the session of a miner whose owner's key was revoked. The miner registers again with its own key and keeps its leases."""
    await context.database.write(store.end_session, miner_id, digest(secrets.token_urlsafe(32)))
    _end_session(context, miner_id, Unauthorized("A key of this miner was revoked; register again."))


def _end_session(context: Context, miner_id: str, why: ApiError) -> None:
    context.caches.sessions = {}
    context.caches.forget_supply()
    context.dispatcher.end_connections(miner_id, why)
