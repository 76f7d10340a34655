"""What a run says before it ends: how far it is, what it has made so far, and what is only for those who watch."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, Final

from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.miners import Session
from agent.coordinator.operations.wire import RunEvent, RunEvents, RunOutput, RunProgress
from agent.coordinator.store import artifacts as artifact_store
from agent.coordinator.store import events as event_store
from agent.coordinator.store import jobs as store
from agent.coordinator.store import outputs as output_store
from agent.coordinator.store.events import NewEvent
from agent.coordinator.store.outputs import KeptOutput
from agent.core.errors import StaleLease, ValidationFailed
from agent.core.media_types import clean_media_type

MAX_KEPT: Final = 10_000
"""Outputs of one job that are kept before its end: they all stand in the lease of a later attempt."""


async def pass_on(context: Context, session: Session, job_id: str, request: RunEvents) -> None:
    """Store the newest progress and the outputs of a run, and pass all its events on to whoever watches.

    Raises `StaleLease`, also if there is nothing to store: a miner speaks of its own runs only. Raises
    `ValidationFailed` for an output that was not stored before, or one too many; nothing is passed on then.
    """
    newest = next((event for event in reversed(request.events) if event.kind == "progress"), None)
    progress = None if newest is None else RunProgress.model_validate(newest.data)
    told = [(event, _output(event) if event.kind == "output" else None) for event in request.events]
    outputs = {output.name: output for _, output in told if output is not None}
    if progress is not None or outputs:
        account_id = await context.database.write(
            _store, session, job_id, request.fence, progress, outputs.values(), context.clock()
        )
    else:
        account_id = await context.database.look(_account, session, job_id, request.fence)
    passing = []
    if progress is not None:
        passing.append(context.progress_of(job_id, account_id, session.miner_id, int(progress.progress)))
    for event, output in told:
        if event.kind != "progress":
            plain = {**event.data, "job_id": job_id, "kind": event.kind}
            data = plain if output is None else _seen(job_id, output)
            # What a client's job says is for the client alone, not for the owner of the miner.
            passing.append(NewEvent("job_event", data, account_id, job_id=job_id))
    await context.feed.tell(passing)


def _output(event: RunEvent) -> KeptOutput:
    output = RunOutput.model_validate(event.data)
    return KeptOutput(
        artifact_id=output.artifact_id,
        name=output.name,
        media_type=clean_media_type(output.media_type),
        size=output.size,
        extra=json.dumps(output.extra),
    )


async def forget_old(context: Context) -> None:
    """Forget changes that nobody will ask for any more, a portion at a time."""
    before = context.clock() - context.settings.events_kept_seconds
    if await context.database.read(event_store.any_before, before):
        await context.database.write(event_store.prune, before)


async def outputs_so_far(context: Context, job_id: str) -> list[dict[str, Any]]:
    """The data of the `output` events of a job so far, the newest of each name, for who begins to watch only now."""
    kept = await context.database.read(output_store.kept_of, [job_id])
    return [_seen(job_id, output) for output in kept.get(job_id, [])]


def _seen(job_id: str, output: KeptOutput) -> dict[str, Any]:
    url = f"/v1/artifacts/{output.artifact_id}"
    return {**output_store.on_the_wire(output), "url": url, "job_id": job_id, "kind": "output"}


def _store(
    connection: Connection,
    session: Session,
    job_id: str,
    fence: int,
    progress: RunProgress | None,
    outputs: Collection[KeptOutput],
    now: float,
) -> str:
    account_id = _account(connection, session, job_id, fence)
    if progress is not None:
        units = None if progress.units is None else str(progress.units)
        store.save_progress(
            connection, job_id, session.miner_id, fence, progress=progress.progress, units=units, now=now
        )
    if outputs:
        _keep(connection, session, job_id, outputs)
    return account_id


def _account(connection: Connection, session: Session, job_id: str, fence: int) -> str:
    account_id = store.account_of_run(connection, job_id, session.miner_id, fence)
    if account_id is None:
        raise StaleLease(job_id, fence)
    return account_id


def _keep(connection: Connection, session: Session, job_id: str, outputs: Collection[KeptOutput]) -> None:
    stored = artifact_store.owned_by(connection, {output.artifact_id for output in outputs}, session.miner_id)
    unknown = {
        output.name: f"store {output.artifact_id} with POST /v1/artifacts first, and name its size"
        for output in outputs
        if stored.get(output.artifact_id) != output.size
    }
    if unknown:
        raise ValidationFailed("An output is stored before it is told of.", unknown)
    output_store.keep(connection, job_id, list(outputs))
    if output_store.count(connection, job_id) > MAX_KEPT:
        raise ValidationFailed(
            "Too many outputs.", {"events": f"at most {MAX_KEPT} outputs of a job are kept before its end"}
        )
