"""Reports of a run before it ends: progress, checkpoints, and events for the job's subscribers."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

from agent.coordinator import hooks
from agent.coordinator.hooks import RunReport
from agent.coordinator.operations.callers import Session
from agent.coordinator.operations.checkpoints import declared_by, published
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import checkpoints, jobs, run_outputs
from agent.coordinator.store.checkpoints import Checkpoint
from agent.coordinator.store.events import NewEvent
from agent.core.errors import StaleLease, ValidationFailed
from agent.core.values.media_types import clean_media_type
from agent.protocol.messages import RunEvent, RunEvents, RunOutput, RunProgress
from agent.settings.coordinator import CoordinatorSettings
from runners.api import Checkpoints


@dataclass(frozen=True, slots=True)
class _Stored:
    """What was stored of a report: the job's account, whether its checkpoints are also outputs, and how many lines its log has more."""

    account_id: str
    visible: bool = False
    lines: int = 0


async def pass_on(context: Context, session: Session, job_id: str, request: RunEvents) -> None:
    """Store the newest progress, the log and the checkpoints of a run, and publish its events to the job's subscribers.

    Raises `StaleLease`, also if there is nothing to store, since a miner may report only on its own runs. Raises
    `ValidationFailed`, without publishing anything, for a checkpoint that the service does not declare, that is not stored, or
    that exceeds a limit.
    """
    newest = next((event for event in reversed(request.events) if event.kind == "progress"), None)
    progress = None if newest is None else RunProgress.model_validate(newest.data)
    reported = [(event, _checkpoint(event) if event.kind == "output" else None) for event in request.events]
    new_checkpoints = {checkpoint.name: checkpoint for _, checkpoint in reported if checkpoint is not None}
    stored = _Stored("")
    if progress is not None or new_checkpoints or request.log is not None:
        stored = await context.database.write(
            _store, context, session, job_id, request, progress, new_checkpoints.values(), context.clock()
        )
        account_id = stored.account_id
    else:
        account_id = await context.database.peek(_account, session, job_id, request.fence)
    passing = []
    if progress is not None:
        passing.append(context.progress_of(job_id, account_id, session.miner_id, int(progress.progress)))
    for event, checkpoint in reported:
        if event.kind != "progress":
            plain = {**event.data, "job_id": job_id, "kind": event.kind}
            data = plain if checkpoint is None else published(job_id, checkpoint, visible=stored.visible)
            # A job's events are for its client only, not for the miner's owner.
            passing.append(NewEvent("job_event", data, account_id, job_id=job_id))
    if stored.lines:
        # Without the lines: administrators see all events, but the log is for the job's account only.
        data = {"job_id": job_id, "kind": "log", "lines": stored.lines}
        passing.append(NewEvent("job_event", data, account_id, job_id=job_id))
    await context.feed.publish(passing)


def _checkpoint(event: RunEvent) -> Checkpoint:
    output = RunOutput.model_validate(event.data)
    return Checkpoint(
        artifact_id=output.artifact_id,
        name=output.name,
        media_type=clean_media_type(output.media_type),
        size=output.size,
        extra=json.dumps(output.extra),
    )


def _store(
    connection: Connection,
    context: Context,
    session: Session,
    job_id: str,
    request: RunEvents,
    progress: RunProgress | None,
    new_checkpoints: Collection[Checkpoint],
    now: float,
) -> _Stored:
    """Store progress, lines of the log, and checkpoints."""
    fence = request.fence
    account_id = _account(connection, session, job_id, fence)
    if progress is not None:
        units = None if progress.units is None else str(progress.units)
        jobs.save_progress(
            connection, job_id, session.miner_id, fence, progress=progress.progress, units=units, now=now
        )
    if not new_checkpoints and request.log is None:
        return _Stored(account_id)
    record = jobs.lock(connection, job_id)
    if record is None or record.life.fence != fence:  # it has ended since
        raise StaleLease(job_id, fence)
    report = RunReport(record, now, request.log)
    if request.log is not None:
        hooks.run_reported(connection, context, report)
    if not new_checkpoints:
        return _Stored(account_id, lines=report.visible_lines)
    declared = declared_by(context, record)
    _check(connection, declared, job_id, new_checkpoints)
    checkpoints.add(connection, job_id, list(new_checkpoints))
    _check_totals(connection, context.settings, job_id)
    return _Stored(account_id, declared is not None and declared.outputs, report.visible_lines)


def _account(connection: Connection, session: Session, job_id: str, fence: int) -> str:
    account_id = jobs.account_of_run(connection, job_id, session.miner_id, fence)
    if account_id is None:
        raise StaleLease(job_id, fence)
    return account_id


def _check(
    connection: Connection,
    declared: Checkpoints | None,
    job_id: str,
    new_checkpoints: Collection[Checkpoint],
) -> None:
    if declared is None:
        raise ValidationFailed(
            "This service has no checkpoints.",
            {"events": "send no output before the result; runs of this service cannot be resumed"},
        )
    stored = run_outputs.sizes_of(connection, job_id, {item.artifact_id for item in new_checkpoints})
    errors = {
        item.name: f"store {item.artifact_id} with POST /v1/artifacts first, and give its size"
        for item in new_checkpoints
        if stored.get(item.artifact_id) != item.size
    }
    errors |= {
        item.name: f"no checkpoint of this service has this name and the media type {item.media_type}"
        for item in new_checkpoints
        if not declared.accepts(item.name, item.media_type)
    }
    if errors:
        raise ValidationFailed("A checkpoint was refused.", errors)


def _check_totals(connection: Connection, settings: CoordinatorSettings, job_id: str) -> None:
    count, size = checkpoints.totals(connection, job_id)
    if count > settings.max_checkpoints:
        raise ValidationFailed(
            "Too many checkpoints.", {"events": f"a job may have {settings.max_checkpoints} checkpoints"}
        )
    if size > settings.max_checkpoint_bytes:
        raise ValidationFailed(
            "The checkpoints are too large.",
            {
                "events": f"the checkpoints of a job may have {int(settings.max_checkpoint_bytes)} bytes in total"
            },
        )
