"""How much accounts may store, and the removal of files that nothing refers to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import islice
from typing import Final

import structlog

from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import artifacts as artifact_store
from agent.coordinator.store import uploads as upload_store
from agent.coordinator.store.artifacts import ArtifactRecord
from agent.core.errors import PayloadTooLarge

BATCH: Final = 500
"""Files that the database is asked about at a time."""

log = structlog.get_logger()


async def room(context: Context, account_id: str) -> int:
    """How many bytes the account may store beyond what it has. Never below zero."""
    used = await context.database.read(used_by, account_id)
    return max(0, context.settings.max_stored - used)


def used_by(connection: Connection, account_id: str) -> int:
    """Bytes of the account's artifacts, and those that its unfinished uploads are to have."""
    _, reserved = upload_store.unfinished(connection, account_id)
    return artifact_store.bytes_of(connection, account_id) + reserved


def check_quota(connection: Connection, account_id: str, quota: int) -> None:
    """Raise `PayloadTooLarge` if the account uses more than `quota` bytes. The transaction then undoes what was added."""
    used = used_by(connection, account_id)
    if used > quota:
        raise PayloadTooLarge(
            f"Your files would take {used} bytes with this one, but your account may store {quota}.",
            {"limit": quota, "used": used},
        )


def keep(connection: Connection, record: ArtifactRecord, account_id: str, *, quota: int, now: float) -> None:
    """Note that the account has stored the artifact. Raises `PayloadTooLarge` beyond its quota."""
    artifact_store.add(connection, record, account_id, now)
    check_quota(connection, account_id, quota)


async def remove_orphans(context: Context) -> int:
    """Remove blobs and parts of uploads that are old and that the database does not know. Returns how many.

    A crash between a file and its row leaves them. What is stored again meanwhile is young, and stays. A database that
    knows no file at all is taken for one that waits for its backup: then nothing is removed.
    """
    if not await context.database.read(artifact_store.any_artifact):
        return 0
    before = context.clock() - context.settings.orphan_seconds
    removed = 0
    blobs = context.artifacts.older_than(before)
    while batch := await asyncio.to_thread(_take, blobs):
        known = await context.database.read(artifact_store.known, batch)
        for artifact_id in set(batch) - known:
            removed += await asyncio.to_thread(context.artifacts.remove_if_older, artifact_id, before)
    parts = context.uploads.older_than(before)
    while batch := await asyncio.to_thread(_take, parts):
        known = await context.database.read(upload_store.known, batch)
        for upload_id in set(batch) - known:
            await asyncio.to_thread(context.uploads.remove, upload_id)
            removed += 1
    if removed:
        log.warning("orphaned_files_removed", count=removed)
    return removed


def _take(names: Iterator[str]) -> list[str]:
    return list(islice(names, BATCH))
