"""Storing, reading and deleting artifacts: for clients, and for miners with a lease."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Any, Final

from agent.coordinator.operations import storage
from agent.coordinator.operations.access import Caller, Role
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.miners import Session
from agent.coordinator.store import artifacts as store
from agent.coordinator.store import run_outputs
from agent.coordinator.store.artifacts import ArtifactRecord
from agent.coordinator.store.run_outputs import RunOutput
from agent.core.errors import Conflict, NotFound, PayloadTooLarge, StaleLease

__all__ = ["ArtifactRecord", "delete", "find", "save", "save_output"]

MAX_OUTPUTS: Final = 20_000
"""Files that the runs of one job may store."""
NAMED_JOBS: Final = 20
"""Jobs that a refusal names."""


async def save(
    context: Context, caller: Caller, media_type: str, chunks: AsyncIterable[bytes], size: int | None = None
) -> dict[str, Any]:
    """Store a client's stream; `size` is its length where it is announced. Returns `{artifact_id, size, media_type}`.

    Raises `PayloadTooLarge` beyond what the account may store, `InsufficientStorage`.
    """
    account_id = account_of(caller)
    budgets = [storage.account_budget(context, account_id)]
    async with storage.receiving(context, budgets, chunks, size) as stored:
        record = ArtifactRecord(stored.artifact_id, stored.size, media_type)
        await context.database.write(store.add, record, account_id, context.clock())
    return {"artifact_id": stored.artifact_id, "size": stored.size, "media_type": media_type}


async def save_output(
    context: Context,
    session: Session,
    lease: tuple[str, int],
    media_type: str,
    chunks: AsyncIterable[bytes],
    size: int | None = None,
) -> dict[str, Any]:
    """Store an output of a run; `lease` is its job's id and its fence. Returns `{artifact_id, size, media_type}`.

    Raises `StaleLease` if the miner does not hold that lease, `PayloadTooLarge` beyond what a job or a miner may store,
    `InsufficientStorage`.
    """
    job_id, fence = lease
    await context.database.read(_check_lease, session, job_id, fence)
    budgets = storage.run_budgets(context, job_id, session.miner_id)
    async with storage.receiving(context, budgets, chunks, size) as stored:
        output = RunOutput(job_id, stored.artifact_id, session.miner_id, fence, media_type)
        await context.database.write(_add_output, session, output, stored.size, context.clock())
    return {"artifact_id": stored.artifact_id, "size": stored.size, "media_type": media_type}


def _check_lease(connection: Connection, session: Session, job_id: str, fence: int) -> None:
    if not run_outputs.has_lease(connection, job_id, session.miner_id, fence):
        raise StaleLease(job_id, fence)


def _add_output(connection: Connection, session: Session, output: RunOutput, size: int, now: float) -> None:
    _check_lease(connection, session, output.job_id, output.fence)
    run_outputs.add(connection, output, size, now)
    if run_outputs.count_of_job(connection, output.job_id) > MAX_OUTPUTS:
        raise PayloadTooLarge(f"The runs of a job may store {MAX_OUTPUTS} files.", {"limit": MAX_OUTPUTS})


async def delete(context: Context, caller: Caller, artifact_id: str) -> None:
    """Delete a file of the caller's account. Its bytes go once no other account or job refers to them.

    Raises `NotFound`, and `Conflict` while an unfinished job needs it.
    """
    await context.database.write(_disown, account_of(caller), artifact_id)
    await storage.discard(context, [artifact_id])


def _disown(connection: Connection, account_id: str, artifact_id: str) -> None:
    if store.readable_by_account(connection, artifact_id, account_id) is None:
        raise _not_found(artifact_id)
    needing = store.needed_by(connection, artifact_id, account_id, NAMED_JOBS)
    if needing:
        raise Conflict(
            f"Job {needing[0]} has not ended and needs this file. Wait for its end, or cancel it; then delete the file.",
            {"job_ids": needing},
        )
    store.disown(connection, artifact_id, account_id)


async def find(context: Context, who: Caller | Session, artifact_id: str) -> ArtifactRecord:
    """The artifact, if the caller may read it. Raises `NotFound`."""
    record = await _readable(context, who, artifact_id)
    if record is None:
        raise _not_found(artifact_id)
    context.artifacts.path(artifact_id)
    return record


def _not_found(artifact_id: str) -> NotFound:
    return NotFound(
        f"There is no artifact {artifact_id}: it was deleted, was never stored here, or is not yours.",
        {"artifact_id": artifact_id},
    )


def account_of(caller: Caller) -> str:
    """The account that the caller's files belong to. Raises `Conflict` if it has none."""
    if caller.account_id is None:
        raise Conflict("Artifacts belong to an account; use a client's key.")
    return caller.account_id


async def _readable(context: Context, who: Caller | Session, artifact_id: str) -> ArtifactRecord | None:
    if isinstance(who, Session):
        return await context.database.read(store.readable_by_miner, artifact_id, who.miner_id, who.number)
    if who.role is Role.ADMIN:
        return await context.database.read(store.find, artifact_id)
    if who.account_id is None:
        return None
    return await context.database.read(store.readable_by_account, artifact_id, who.account_id)
