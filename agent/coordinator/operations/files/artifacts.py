"""Storing, reading and deleting artifacts, for clients and for miners with a lease."""

from __future__ import annotations

from collections.abc import AsyncIterable, Sequence
from typing import Final

from agent.coordinator import hooks
from agent.coordinator.blobs.store import Stored
from agent.coordinator.operations.callers import Caller, Session
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.files import quota, removal
from agent.coordinator.store import artifacts, run_outputs
from agent.coordinator.store.artifacts import ArtifactRecord
from agent.coordinator.store.run_outputs import StoredOutput
from agent.core.errors import Conflict, NotFound, PayloadTooLarge, StaleLease, ValidationFailed
from agent.core.values.file_names import clean_file_name
from aitbc.answers.accounts import Role
from aitbc.answers.files import Artifact

__all__ = ["ArtifactRecord", "delete", "find", "save", "save_output"]

MAX_OUTPUTS: Final = 20_000
"""Limit of files that the runs of one job may store."""
NAMED_JOBS: Final = 20
"""Limit of jobs that an error message names."""


async def save(
    context: Context,
    caller: Caller,
    media_type: str,
    chunks: AsyncIterable[bytes],
    size: int | None = None,
    file_name: str | None = None,
) -> Artifact:
    """Store a client's stream; `size` is its announced length, if any, and `file_name` its name, after which jobs are named.

    Raises `PayloadTooLarge` beyond the account's quota, `InsufficientStorage`.
    """
    account_id = caller.account_of("Artifacts")
    budgets = [quota.account_budget(context, account_id)]
    async with quota.receiving(context, budgets, chunks, size) as stored:
        name = clean_file_name(file_name)
        record = ArtifactRecord(stored.artifact_id, stored.size, media_type, name, stored.name)
        await context.database.write(_add, budgets, record, account_id, context.clock())
    return Artifact(artifact_id=stored.artifact_id, size=stored.size, media_type=media_type)


def _add(
    connection: Connection,
    budgets: Sequence[quota.Budget],
    record: ArtifactRecord,
    account_id: str,
    now: float,
) -> None:
    artifacts.add(connection, record, account_id, now)
    # Again in the transaction: the reservations of other replicas were not known before.
    for budget in budgets:
        budget.check(connection, 0)


async def save_output(
    context: Context,
    session: Session,
    lease: tuple[str, int] | None,
    media_type: str,
    chunks: AsyncIterable[bytes],
    size: int | None = None,
) -> Artifact:
    """Store an output of a run; `lease` is its job's id and its fence, `size` the announced length, if any.

    Miners before version 0.2 name no lease: the file may then be an output of each job that the miner runs. Raises
    `StaleLease` if the miner does not hold the lease, `ValidationFailed` if it holds none; `PayloadTooLarge` beyond the job's quota,
    `InsufficientStorage` beyond the miner's quota or the disk's free space.
    """
    # Checked before the first byte, and again when the file is stored: the lease may end during a long upload.
    leases = await context.database.read(leases_for, session, lease)
    budgets = quota.run_budgets(context, leases[0][0], session.miner_id)
    async with quota.receiving(context, budgets, chunks, size) as stored:
        outputs = [
            StoredOutput(job_id, stored.artifact_id, session.miner_id, fence, media_type)
            for job_id, fence in leases
        ]
        await context.database.write(add_outputs, session, lease, outputs, stored, context.clock())
    return Artifact(artifact_id=stored.artifact_id, size=stored.size, media_type=media_type)


def leases_for(
    connection: Connection, session: Session, lease: tuple[str, int] | None
) -> list[tuple[str, int]]:
    """Return the leases whose output a file may be. Raises `StaleLease`, and `ValidationFailed` if the miner has no lease."""
    if lease is None:
        leases = run_outputs.leases_of(connection, session.miner_id)
        if not leases:
            raise ValidationFailed(
                "A miner can store files only for a job that it runs.",
                {"job_id": "name the job and the fence of its lease"},
            )
        return leases
    if not run_outputs.has_lease(connection, lease[0], session.miner_id, lease[1]):
        raise StaleLease(*lease)
    return [lease]


def add_outputs(
    connection: Connection,
    session: Session,
    lease: tuple[str, int] | None,
    outputs: list[StoredOutput],
    stored: Stored,
    now: float,
) -> None:
    """Record a stored file as an output of the runs whose leases still hold. Raises `StaleLease`, `PayloadTooLarge`."""
    live = set(leases_for(connection, session, lease))
    for output in outputs:
        if (output.job_id, output.fence) in live:
            run_outputs.add(connection, output, stored.size, now, stored.name)
        if run_outputs.count_of_job(connection, output.job_id) > MAX_OUTPUTS:
            raise PayloadTooLarge(f"The runs of a job may store {MAX_OUTPUTS} files.", {"limit": MAX_OUTPUTS})


async def delete(context: Context, caller: Caller, artifact_id: str) -> None:
    """Delete a file of the caller's account. Its bytes are removed once no other account or job refers to them.

    Raises `NotFound`, and `Conflict` while an unfinished job needs it.
    """
    await context.database.write(_disown, context, caller.account_of("Artifacts"), artifact_id)
    await removal.discard(context)


def _disown(connection: Connection, context: Context, account_id: str, artifact_id: str) -> None:
    if artifacts.readable_by_account(connection, artifact_id, account_id) is None:
        raise _not_found(artifact_id)
    # A waiting job would only fail later, on a miner, for a reason that its client has caused here.
    needing = artifacts.needed_by(connection, artifact_id, account_id, NAMED_JOBS)
    if needing:
        raise Conflict(
            f"Job {needing[0]} has not ended and needs this file. Wait until it ends or cancel it, then delete the file.",
            {"job_ids": needing},
        )
    of_jobs = artifacts.jobs_with(artifact_id, account_id)
    # While the rows still exist, from which features may copy what they need.
    hooks.retain(connection, context, of_jobs, context.clock())
    artifacts.disown(connection, artifact_id, account_id)


async def find(context: Context, who: Caller | Session, artifact_id: str) -> ArtifactRecord:
    """Return the artifact if the caller may read it. Raises `NotFound`."""
    record = await _readable(context, who, artifact_id)
    if record is None:
        raise _not_found(artifact_id)
    return record


def _not_found(artifact_id: str) -> NotFound:
    return NotFound(
        f"There is no artifact {artifact_id}: it was deleted, was never stored here, or belongs to another account.",
        {"artifact_id": artifact_id},
    )


async def _readable(context: Context, who: Caller | Session, artifact_id: str) -> ArtifactRecord | None:
    if isinstance(who, Session):
        return await context.database.peek(artifacts.readable_by_miner, artifact_id, who.miner_id, who.number)
    if who.role is Role.ADMIN:
        return await context.database.peek(artifacts.find, artifact_id)
    # The owner of a miner has no files; those of its jobs are their clients'.
    if who.account_id is None:
        return None
    return await context.database.peek(artifacts.readable_by_account, artifact_id, who.account_id)
