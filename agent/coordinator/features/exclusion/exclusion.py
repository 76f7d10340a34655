"""Exclusion and removal of miners by operators: a miner's session ends immediately, and its jobs go to others.

An excluded miner cannot register. A removed one is unknown again, and may enrol with a token like a new one.
"""

from __future__ import annotations

import secrets
from typing import Any

import structlog

from agent.coordinator import hooks, lifecycle
from agent.coordinator.consequences import Change
from agent.coordinator.features.exclusion import store
from agent.coordinator.features.exclusion.answers import Removal
from agent.coordinator.hooks import MinerReport
from agent.coordinator.operations.accounts.access import digest
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.miners.sessions import end_session, exclusion_of, lease_end
from agent.coordinator.store import locks, miners, running
from agent.core.errors import NotFound, Unauthorized
from agent.core.jobs import JobState, Release
from agent.core.values.quantities import format_time
from aitbc.answers.miners import Exclusion, Inclusion

log = structlog.get_logger()


async def exclude(context: Context, miner_id: str, reason: str) -> Exclusion:
    """Exclude a miner. Its running jobs are queued again, without a counted attempt. Raises `NotFound`."""
    now = context.clock()
    requeued = await context.database.write(_exclude, miner_id, reason or None, now)
    # After the transaction: a connection that is ended earlier could come back before the exclusion is stored.
    end_session(context, miner_id, exclusion_of(reason or None))
    context.dispatcher.job_waiting()
    log.warning("miner_excluded", miner_id=miner_id, requeued=requeued)
    return Exclusion(miner_id=miner_id, excluded_at=format_time(now), requeued_jobs=requeued)


def _exclude(connection: Connection, miner_id: str, reason: str | None, now: float) -> int:
    # The miner must not take another job between the reading of its jobs and its exclusion.
    locks.session(connection, miner_id)
    _require(connection, miner_id)
    store.set_exclusion(connection, miner_id, now, reason)
    return _return_jobs(connection, miner_id, now, "the miner was excluded")


def _return_jobs(connection: Connection, miner_id: str, now: float, reason: str) -> int:
    """Queue the running jobs of a miner again, and accept none of its late results. Return the number of the former."""
    requeued = 0
    changes = []
    for record in running.leased_by(connection, miner_id):
        lease = record.life.lease
        if lease is None:
            continue
        if record.life.state is JobState.RUNNING:
            changes.append(Change.by(record, Release(miner_id, lease.fence, now)))
            requeued += 1
        else:  # its lease has expired; a late result is no longer accepted
            changes.append(lease_end(record, now, reason, forget=True))
    lifecycle.save(connection, changes, now)
    return requeued


async def remove(context: Context, miner_id: str) -> Removal:
    """Remove a miner. Its running jobs are queued again. Receipts, statistics and earnings stay.

    An exclusion stays in force. Raises `NotFound`.
    """
    now = context.clock()
    requeued, fields = await context.database.write(_remove, context, miner_id, now)
    end_session(context, miner_id, Unauthorized("An operator has removed this miner."))
    context.dispatcher.job_waiting()
    log.warning("miner_removed", miner_id=miner_id, requeued=requeued, **fields)
    return Removal(miner_id=miner_id, removed_at=format_time(now), requeued_jobs=requeued, **fields)


def _remove(
    connection: Connection, context: Context, miner_id: str, now: float
) -> tuple[int, dict[str, Any]]:
    locks.session(connection, miner_id)
    _require(connection, miner_id)
    requeued = _return_jobs(connection, miner_id, now, "the miner was removed")
    # Features end what belongs to the miner, such as its offers.
    report = MinerReport(miner_id, removed=True)
    hooks.miner_reported(connection, context, report)
    # The session's token becomes one that nobody has.
    store.remove(connection, miner_id, now, digest(secrets.token_urlsafe(32)))
    return requeued, report.fields


async def include(context: Context, miner_id: str) -> Inclusion:
    """Let an excluded miner register again. Raises `NotFound`."""
    await context.database.write(_include, miner_id)
    log.info("miner_included", miner_id=miner_id)
    return Inclusion(miner_id=miner_id)


def _include(connection: Connection, miner_id: str) -> None:
    if miners.find_former(connection, miner_id) is None:  # a removed miner may be excluded
        raise _unknown(miner_id)
    store.set_exclusion(connection, miner_id, None, None)


def _require(connection: Connection, miner_id: str) -> None:
    if miners.find(connection, miner_id) is None:
        raise _unknown(miner_id)


def _unknown(miner_id: str) -> NotFound:
    return NotFound(f"There is no miner {miner_id}.", {"miner_id": miner_id})
