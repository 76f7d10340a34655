"""Miners' heartbeats: they renew leases, report telemetry and progress, and receive commands."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final, Literal

import structlog

from agent.coordinator import hooks, lifecycle
from agent.coordinator.consequences import Change
from agent.coordinator.hooks import MinerReport
from agent.coordinator.operations.callers import Session
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.miners.metering import metered
from agent.coordinator.operations.miners.sessions import require_not_excluded, with_runners
from agent.coordinator.store import jobs, locks, miners, run_outputs
from agent.coordinator.store.events import NewEvent
from agent.coordinator.store.jobs import JobRecord
from agent.core.errors import StaleSession, ValidationFailed
from agent.core.jobs import IllegalEvent, JobState, Release, Renew
from agent.core.values.quantities import format_time
from agent.protocol.answers import (
    Command,
    HeartbeatAnswer,
    LeaseAnswer,
)
from agent.protocol.messages import (
    MAX_LEASES,
    Capabilities,
    Heartbeat,
    LeaseProgress,
)

ARRIVAL_SECONDS: Final = 10.0
"""A lease older than this is named in the miner's heartbeat, or never reached the miner."""

log = structlog.get_logger()


async def heartbeat(context: Context, session: Session, request: Heartbeat) -> HeartbeatAnswer:
    """Renew the leases that the miner still holds. Return the state of each lease, and the commands for the miner.

    Raises `StaleSession`, `MinerExcluded`, `ValidationFailed`.
    """
    capabilities = _stored(context, request.capabilities)
    leases, progress, released, ordered = await context.database.write(
        _heartbeat, context, session, request, capabilities
    )
    for job_id in released:
        log.warning("lease_undelivered", job_id=job_id, miner_id=session.miner_id)
        context.dispatcher.job_waiting()
    if request.capabilities is not None:
        _replace_capabilities(context, session, request.capabilities)
    # After the commit: progress of a lease that was not renewed must not reach the client.
    await context.feed.publish(progress)
    return HeartbeatAnswer(leases=leases, commands=ordered)


def _stored(context: Context, capabilities: Capabilities | None) -> str | None:
    """Return capabilities as they are stored. They may be as large as in a registration."""
    if capabilities is None:
        return None
    stored = capabilities.model_dump_json()
    largest = context.settings.max_body_without_key
    if len(stored) > largest:
        raise ValidationFailed(
            f"The capabilities take {len(stored)} bytes; at most {largest} are possible. Offer fewer models or services.",
            {"capabilities": f"at most {largest} bytes as JSON"},
        )
    return stored


def _replace_capabilities(context: Context, session: Session, capabilities: Capabilities) -> None:
    context.caches.forget_session(session.miner_id)
    context.dispatcher.replace_capabilities(
        session.miner_id, session.number, capabilities.model_dump(mode="json")
    )


def _heartbeat(
    connection: Connection, context: Context, session: Session, request: Heartbeat, capabilities: str | None
) -> tuple[list[LeaseAnswer], list[NewEvent], list[str], list[Command]]:
    """Return the state of each lease, the jobs' progress, the jobs whose leases never arrived, and commands for the miner."""
    now = context.clock()
    locks.session(connection, session.miner_id)
    miner = miners.find(connection, session.miner_id)
    # The session may be cached, so only this row shows whether a newer one has begun.
    if miner is None or miner.session != session.number:
        raise StaleSession("A newer session of this miner has begun; stop.")
    require_not_excluded(miner)
    # Before the miner's row and what features keep of it, and at once: results and cancellations lock jobs first, too.
    leased_ids = {job_id for job_id, _ in run_outputs.leases_of(connection, session.miner_id)}
    records = jobs.lock_many(connection, sorted(leased_ids | {lease.job_id for lease in request.leases}))
    miners.touch(
        connection,
        session.miner_id,
        now,
        telemetry=json.dumps([gpu.model_dump(exclude_unset=True) for gpu in request.gpus]),
        capabilities=capabilities,
        paused=request.paused,
        activity=request.activity.model_dump_json() if request.activity else None,
        runners=with_runners(miner.runners, request.capabilities) if request.capabilities else None,
    )
    report = MinerReport(session.miner_id, request.capabilities, request)
    hooks.miner_reported(connection, context, report)
    answers, events = [], []
    changes: list[Change] = []
    for lease in request.leases:
        record = records.get(lease.job_id)
        renewal = None if record is None else _renewal(context, record, session, lease, now)
        renewed = None if renewal is None else renewal.life.lease
        if record is None or renewal is None or renewed is None:
            cancelled = (
                record is not None
                and record.life.state is JobState.CANCELLED
                and record.life.fence == lease.fence
            )
            status: Literal["cancelled", "lost"] = "cancelled" if cancelled else "lost"
            answers.append(LeaseAnswer(job_id=lease.job_id, fence=lease.fence, status=status))
            continue
        changes.append(renewal)
        expires_at = format_time(renewed.expires_at)
        answers.append(
            LeaseAnswer(job_id=lease.job_id, fence=lease.fence, status="renewed", lease_expires_at=expires_at)
        )
        progress = int(max(record.progress, lease.progress))
        events.append(context.progress_of(lease.job_id, record.account_id, session.miner_id, progress))
    lost = _lost(
        [record for job_id, record in records.items() if job_id in leased_ids], session, request, now
    )
    lifecycle.save(connection, changes + lost, now)
    return answers, events, [item.before.job_id for item in lost], report.commands


def _lost(leased: Iterable[JobRecord], session: Session, request: Heartbeat, now: float) -> list[Change]:
    """Return the releases of leases that the miner does not name: they never reached it, which is no fault of the miner or the job.

    `leased` are jobs whose newest lease was the miner's before they were locked.
    """
    # The miner may hold more leases than it can name, so those that it does not name are not lost.
    if len(request.leases) == MAX_LEASES:
        return []
    named = {(lease.job_id, lease.fence) for lease in request.leases}
    released = []
    for record in leased:
        lease = record.life.lease
        if lease is None or record.life.state is not JobState.RUNNING:
            continue
        if (lease.miner_id, lease.session) != (session.miner_id, session.number):
            continue
        # A young lease may be on its way while the heartbeat is.
        if (record.job_id, lease.fence) in named or now - lease.assigned_at < ARRIVAL_SECONDS:
            continue
        released.append(Change.by(record, Release(session.miner_id, lease.fence, now)))
    return released


def _renewal(
    context: Context,
    record: JobRecord,
    session: Session,
    reported: LeaseProgress,
    now: float,
) -> Change | None:
    """Return the renewal of a lease with the run's progress, or None if the miner no longer has it."""
    lease_seconds = context.settings.lease_seconds
    event = Renew(session.miner_id, reported.fence, session.number, now, lease_seconds)
    values: dict[str, Any] = {
        # Messages may overtake each other, and clients expect progress never to go back.
        "progress": max(record.progress, reported.progress),
        "units": metered(context, record, reported.units, now),
    }
    try:
        return Change.by(record, event, **values)
    except IllegalEvent:
        return None
