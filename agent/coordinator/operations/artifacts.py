"""Storing and reading artifacts, for clients and for miners with a lease."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Any

from agent.coordinator.operations import storage
from agent.coordinator.operations.access import Caller, Role
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.miners import Session
from agent.coordinator.store import artifacts as store
from agent.coordinator.store.artifacts import ArtifactRecord
from agent.core.errors import Conflict, NotFound

__all__ = ["ArtifactRecord", "find", "save"]


async def save(
    context: Context, who: Caller | Session, media_type: str, chunks: AsyncIterable[bytes]
) -> dict[str, Any]:
    """Store a stream. Returns `{artifact_id, size, media_type}`. Raises `PayloadTooLarge` beyond what an account may store."""
    if isinstance(who, Session):  # what miners make was asked for; whether it is too much is the job's matter
        stored = await context.artifacts.store(chunks)
        record = ArtifactRecord(stored.artifact_id, stored.size, media_type)
        await context.database.write(store.add, record, who.miner_id, context.clock())
    elif who.account_id is None:
        raise Conflict("Artifacts belong to an account; use a client's key.")
    else:
        stored = await context.artifacts.store(chunks, await storage.room(context, who.account_id))
        record = ArtifactRecord(stored.artifact_id, stored.size, media_type)
        quota = context.settings.max_stored
        await context.database.write(storage.keep, record, who.account_id, quota=quota, now=context.clock())
    return {"artifact_id": stored.artifact_id, "size": stored.size, "media_type": media_type}


async def find(context: Context, who: Caller | Session, artifact_id: str) -> ArtifactRecord:
    """The artifact, if the caller may read it. Raises `NotFound`."""
    record = await _readable(context, who, artifact_id)
    if record is None:
        raise NotFound(f"There is no artifact {artifact_id}.", {"artifact_id": artifact_id})
    context.artifacts.path(artifact_id)
    return record


async def _readable(context: Context, who: Caller | Session, artifact_id: str) -> ArtifactRecord | None:
    if isinstance(who, Session):
        return await context.database.read(store.readable_by_miner, artifact_id, who.miner_id, who.number)
    if who.role is Role.ADMIN:
        return await context.database.read(store.find, artifact_id)
    if who.account_id is None:
        return None
    return await context.database.read(store.readable_by_account, artifact_id, who.account_id)
