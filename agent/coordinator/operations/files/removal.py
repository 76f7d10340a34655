"""Removal of bytes that no row refers to: of deleted files, of requests that failed, and of crashes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import structlog

from agent.coordinator.operations.context import Context
from agent.coordinator.store import artifacts, blobs, run_outputs
from agent.core.errors import ServiceUnavailable

DIRECT_SECONDS: Final = 3600
"""Age at which a file without a row is removed from a store that others can reach: the longest validity of URLs."""
BATCH: Final = 500
"""Files that one query looks up."""

log = structlog.get_logger()


async def discard(context: Context) -> None:
    """Remove the blobs that deleted rows referred to. If the store does not answer, the upkeep tries again."""
    try:
        while names := await context.database.read(blobs.removed, BATCH):
            await context.files.blobs.remove(names)
            await context.database.write(blobs.forget, names)
    except ServiceUnavailable as error:
        log.warning("blobs_not_removed", reason=error.message)


async def discard_redundant(context: Context, artifact_id: str, name: str) -> None:
    """Remove a blob whose artifact has another one, or no row."""
    if await context.database.read(artifacts.blob_of, artifact_id) != name:
        await remove(context, [name])


async def remove(context: Context, names: Iterable[str]) -> None:
    """Remove blobs that no row refers to. If the store does not answer, the sweep of orphans removes them."""
    try:
        await context.files.blobs.remove(list(names))
    except ServiceUnavailable as error:
        log.warning("blobs_not_removed", reason=error.message)


async def settle_run_outputs(context: Context) -> None:
    """Remove files of ended runs that are no longer needed, and charge their jobs' visible checkpoints to the accounts."""
    visible = {
        service_id
        for service_id, definition in context.catalogue.services.items()
        if definition.checkpoints is not None and definition.checkpoints.outputs
    }
    while await context.database.write(
        run_outputs.settle_ended, context.clock(), BATCH, visible_services=visible
    ):
        pass
    await discard(context)


async def remove_orphans(context: Context) -> int:
    """Remove old blobs that have no row in the database. Return their number.

    A crash between writing a file and its row leaves them. If the database has no files at all, nothing is removed: it may be
    waiting for a restore.
    """
    if not await context.database.read(artifacts.any_artifact):
        return 0
    written_before = context.clock() - context.settings.orphan_seconds
    # A direct upload has its row before its URL, and other files in such a store appear when they are complete. So what has no row was mostly
    # stored by a URL that outlived its file, and no quota counts it.
    direct = context.files.blobs.direct is not None
    unowned = max(written_before, context.clock() - DIRECT_SECONDS) if direct else written_before
    removed = await context.files.blobs.sweep(written_before)
    async for batch in context.files.blobs.listed():
        old_names = [blob.name for blob in batch if blob.modified < unowned]
        for start in range(0, len(old_names), BATCH):
            names = old_names[start : start + BATCH]
            orphans = sorted(set(names) - await context.database.read(blobs.known, names))
            await context.files.blobs.remove(orphans)
            removed += len(orphans)
    if removed:
        log.warning("orphaned_files_removed", count=removed)
    return removed
