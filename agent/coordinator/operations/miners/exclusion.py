"""Operators exclude miners: their sessions end at once, their jobs go to others, and no new session begins."""

from __future__ import annotations

import secrets
from typing import Any

import structlog

from agent.coordinator import lifecycle
from agent.coordinator.operations.accounts.access import digest
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.miners.sessions import end_lease, exclusion_of
from agent.coordinator.store import jobs as job_store
from agent.coordinator.store import miners as store
from agent.core.errors import ApiError, NotFound, Unauthorized
from agent.core.jobs import JobState, Release
from agent.core.values.quantities import format_time

log = structlog.get_logger()


async def exclude(context: Context, miner_id: str, reason: str) -> dict[str, Any]:
    """Exclude a miner. Its running jobs wait for another miner, without a counted attempt. Raises `NotFound`."""
    now = context.clock()
    requeued = await context.database.write(_exclude, miner_id, reason or None, now)
    _end_session(context, miner_id, exclusion_of(reason or None))
    context.dispatcher.job_waiting()
    log.warning("miner_excluded", miner_id=miner_id, requeued=requeued)
    return {"miner_id": miner_id, "excluded_at": format_time(now), "requeued_jobs": requeued}


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
        else:  # its lease has expired; a late result is not wanted any more
            end_lease(connection, record, now, "the miner was excluded", forget=True)
    return requeued


async def include(context: Context, miner_id: str) -> dict[str, Any]:
    """Let an excluded miner take part again, once it asks the next time. Raises `NotFound`."""
    await context.database.write(_include, miner_id)
    log.info("miner_included", miner_id=miner_id)
    return {"miner_id": miner_id}


def _include(connection: Connection, miner_id: str) -> None:
    _require(connection, miner_id)
    store.set_exclusion(connection, miner_id, None, None)


def _require(connection: Connection, miner_id: str) -> None:
    if store.find(connection, miner_id) is None:
        raise NotFound(f"There is no miner {miner_id}.", {"miner_id": miner_id})


async def end_session_of_key(context: Context, miner_id: str) -> None:
    """End the session of a miner whose owner's key was revoked. It registers again with its own key, and keeps its work."""
    await context.database.write(store.end_session, miner_id, digest(secrets.token_urlsafe(32)))
    _end_session(context, miner_id, Unauthorized("A key of this miner was revoked; register again."))


def _end_session(context: Context, miner_id: str, why: ApiError) -> None:
    context.caches.sessions = {}
    context.caches.supply = None
    context.dispatcher.end_connections(miner_id, why)
