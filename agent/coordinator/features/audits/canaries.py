"""Canaries: jobs with known answers, which the coordinator submits at random moments like a client."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import orjson

from agent.coordinator import lifecycle
from agent.coordinator.dispatch.fleet import known_miners
from agent.coordinator.features.audits import funds
from agent.coordinator.features.audits.choosing import random_number, unprovable
from agent.coordinator.features.audits.rounds.deciding import delete_data, one_by_one
from agent.coordinator.features.audits.settings import AuditSettings
from agent.coordinator.features.audits.store import canaries
from agent.coordinator.features.audits.store.canaries import CanaryRecord
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import access, artifacts, jobs, queue
from agent.coordinator.store.artifacts import ArtifactRecord
from agent.coordinator.store.jobs import JobRecord
from agent.core.errors import Conflict, NotFound
from agent.core.feasibility import KnownMiner, Situation, runnable_on
from agent.core.jobs import Job, JobState
from agent.core.matching import Restrictions, Waiting
from agent.core.values.quantities import format_time
from agent.sections import section_of
from aitbc.answers.audits import Canary
from aitbc.canonical import canonical_json, sha256_hex

DAY_SECONDS: Final = 86_400.0
ACCOUNT_NAME: Final = "batches"
"""The name of the account; nothing distinguishes it from a client's."""


@dataclass(frozen=True, slots=True)
class CanaryDraw:
    """Ids and secret random numbers for one submission: which miner gets it, and when the canary is due next."""

    job_id: str
    tx_id: str
    miner: float
    pause: float


async def create(context: Context, job_id: str, note: str) -> Canary:
    """Make a completed job, whose result the operator trusts, a canary. Raises `NotFound`, `Conflict`."""
    canary_id, account_id = context.new_id("canary"), context.new_id("account")
    return await context.database.write(_create, context, canary_id, account_id, job_id, note)


def _create(
    connection: Connection, context: Context, canary_id: str, account_id: str, job_id: str, note: str
) -> Canary:
    record = jobs.find(connection, job_id)
    results = None if record is None else jobs.results_of(connection, job_id)
    if record is None or record.deleted_at is not None:
        raise NotFound(f"There is no job {job_id}.", {"job_id": job_id})
    if record.life.state is not JobState.COMPLETED or results is None:
        raise Conflict(
            f"Job {job_id} is {record.life.state}. Only a completed job has an answer. Choose another one."
        )
    # The answer of an audit is an opinion, not a result of the service.
    if queue.restrictions_of(record).audit:
        raise Conflict(f"Job {job_id} cannot be compared, because it is an audit itself. Choose another one.")
    # A canary of which no audit can prove anything would cost money and show nothing.
    if (reason := unprovable(context, record)) is not None:
        raise Conflict(f"Job {job_id} cannot be compared: {reason} Choose another one.")
    now = context.clock()
    # All canaries have one account, with an ordinary name, by which nobody recognises them.
    payer_id = canaries.account(connection)
    if payer_id is None:
        access.add_account(connection, account_id, ACCOUNT_NAME, now)
    owner = payer_id or account_id
    for file in artifacts.inputs_of(connection, job_id):
        stored = ArtifactRecord(file.artifact_id, file.size, "application/octet-stream", file.file_name)
        # The inputs stay stored for the canary, also if the client who sent them deletes them.
        artifacts.add(connection, stored, owner, now)
    canary = CanaryRecord(canary_id, owner, job_id, record.spec, results, note, now)
    canaries.add(connection, canary)
    return _view(canary, record)


def listed(connection: Connection) -> list[Canary]:
    """Return all canaries, newest first."""
    all_canaries = canaries.find_all(connection)
    jobs_by_id = jobs.find_many(connection, [canary.job_id for canary in all_canaries])
    return [_view(canary, jobs_by_id[canary.job_id]) for canary in all_canaries]


def _view(canary: CanaryRecord, record: JobRecord) -> Canary:
    return Canary(
        canary_id=canary.canary_id,
        job_id=canary.job_id,
        service=record.service,
        model=record.model,
        note=canary.note,
        submitted=canary.submitted,
        created_at=format_time(canary.created_at),
    )


async def delete(context: Context, canary_id: str) -> None:
    """Stop submitting a canary, and delete its data. Raises `NotFound`."""
    await context.database.write(_delete, canary_id, context.clock())


def _delete(connection: Connection, canary_id: str, now: float) -> None:
    canary = canaries.find(connection, canary_id)
    if canary is None or canary.deleted_at is not None:
        raise NotFound(f"There is no canary {canary_id}.", {"canary_id": canary_id})
    # First, since the canary would otherwise count among those that need its files.
    canaries.delete(connection, canary_id, now)
    of_canary = queue.format_restrictions(Restrictions(canary=canary_id))
    for job_id in canaries.ended_jobs(connection, canary.account_id, of_canary or ""):
        delete_data(connection, job_id, now)
    for file in artifacts.inputs_of(connection, canary.job_id):
        # Several canaries may share a file, and unfinished jobs still need it.
        if not canaries.needs_artifact(connection, canary.account_id, file.artifact_id):
            artifacts.disown(connection, file.artifact_id, canary.account_id)


def forget(connection: Connection, canary_ids: Sequence[str], now: float) -> None:
    """Delete canaries, because the client whose jobs they were deletes their data."""
    for canary_id in canary_ids:
        _delete(connection, canary_id, now)


async def submit_due(context: Context) -> int:
    """Submit the canaries that are due. Return how many were due."""
    # 0 switches canaries off.
    if not section_of(context.settings, AuditSettings).canaries_per_day:
        return 0
    due = await context.database.read(canaries.find_due, context.clock())

    async def submit(canary_id: str) -> None:
        draw = CanaryDraw(context.new_id("job"), context.new_id("tx"), random_number(), random_number())
        await context.database.write(_submit, context, canary_id, draw)

    await one_by_one(due, submit)
    if due:
        context.dispatcher.job_waiting()
    return len(due)


def _submit(connection: Connection, context: Context, canary_id: str, draw: CanaryDraw) -> None:
    """Submit a canary for a random miner that can run it, and set when it is due again: after an exponentially distributed time."""
    canary = canaries.find(connection, canary_id)
    # It may have been deleted since the due ones were read.
    if canary is None or canary.deleted_at is not None:
        return
    now, settings = context.clock(), section_of(context.settings, AuditSettings)
    mean = DAY_SECONDS / settings.canaries_per_day * len(canaries.find_all(connection))
    # Exponentially distributed pauses: from the time of the last canary, nobody can predict the next one.
    next_due = now - mean * math.log(1.0 - draw.pause)
    # A new canary is only given a time at first; otherwise it would come right after it was created.
    source = None if canary.due_at is None else jobs.find(connection, canary.job_id)
    job = None if source is None else _job(context, canary, source, draw)
    target = None if job is None else _target(connection, context, queue.waiting_job(job), draw, now)
    affordable = job is not None and funds.fits_budget(connection, settings, job.max_cost, now)
    chosen = job is not None and target is not None and affordable
    # Another replica may submit the same canary; the one that moves its time first does.
    if not canaries.postpone(connection, canary, next_due, submitted=int(chosen)):
        return
    if job is not None and target is not None and affordable:
        funds.fund(connection, canary.account_id, draw.tx_id, job.max_cost, now)
        # The miner is drawn among all that could run it. By the usual choice, some would hardly ever get a canary.
        lifecycle.create(connection, replace(job, requested_miner_id=target.miner_id))
        canaries.copy_inputs(connection, canary.job_id, job.job_id, with_outputs=False)


def _target(
    connection: Connection, context: Context, job: Waiting, draw: CanaryDraw, now: float
) -> KnownMiner | None:
    situation = Situation((), now)
    fitting = [
        miner
        for miner in known_miners(connection, context.settings, now)
        if miner.online and runnable_on(job, miner, situation)
    ]
    # The draw was made before the transaction: in a fixed order, a repeated transaction chooses the same miner.
    fitting.sort(key=lambda miner: miner.miner_id)
    return fitting[int(draw.miner * len(fitting))] if fitting else None


def _job(context: Context, canary: CanaryRecord, source: JobRecord, draw: CanaryDraw) -> JobRecord:
    payload = canonical_json({**orjson.loads(canary.spec), "job_id": draw.job_id})
    return JobRecord(
        life=Job(
            job_id=draw.job_id,
            state=JobState.SUBMITTED,
            timeout_seconds=source.life.timeout_seconds,
            max_attempts=source.life.max_attempts,
        ),
        account_id=canary.account_id,
        service=source.service,
        type=source.type,
        name=source.name,
        model=source.model,
        spec=payload.decode(),
        spec_digest=sha256_hex(payload),
        cpu_millis=source.cpu_millis,
        memory=source.memory,
        gpus=source.gpus,
        priority=source.priority,
        max_cost=source.max_cost,
        fee_ppm=int(context.settings.fee_percent * 10_000),
        requested_miner_id=None,
        missing_files=None,
        created_at=context.clock(),
        needs=source.needs,
        restrictions=queue.format_restrictions(Restrictions(canary=canary.canary_id)),
    )
