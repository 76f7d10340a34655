"""Works off the batches of all accounts, in the leading replica."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Final

import structlog

from agent.coordinator.features.batches import files, store
from agent.coordinator.features.batches.finishing import finish
from agent.coordinator.features.batches.run import BatchRun
from agent.coordinator.features.batches.states import BatchStatus
from agent.coordinator.features.batches.validation import validate
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.files import removal
from agent.coordinator.store import artifacts
from agent.core.errors import NotFound

POLL_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 15.0
"""Pause after a batch was interrupted by an error."""
AT_ONCE: Final = 64
"""Batches that are worked off at the same time."""

log = structlog.get_logger()


async def work(context: Context) -> None:
    """Work off batches until cancelled."""
    tasks: dict[str, asyncio.Task[None]] = {}
    try:
        while True:
            unfinished = await context.database.read(store.unfinished)
            tasks = {batch_id: task for batch_id, task in tasks.items() if not task.done()}
            for batch_id in _in_turn(unfinished)[:AT_ONCE]:
                if batch_id not in tasks and len(tasks) < AT_ONCE:
                    tasks[batch_id] = asyncio.create_task(_work_off(context, batch_id), name=batch_id)
            await asyncio.sleep(POLL_SECONDS)
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


def _in_turn(unfinished: Sequence[tuple[str, str]]) -> list[str]:
    """Return the ids of batches, the first of each account before all second ones."""
    earlier = Counter[str]()
    ranked = []
    for batch_id, account_id in unfinished:
        ranked.append((earlier[account_id], batch_id))
        earlier[account_id] += 1
    return [batch_id for _, batch_id in sorted(ranked)]


async def _work_off(context: Context, batch_id: str) -> None:
    """Bring a batch to its end. After an error, the next attempt continues."""
    try:
        await _advance(context, batch_id)
    except store.TakenOver:
        log.info("batch_superseded", batch_id=batch_id)
    except Exception as error:
        log.warning("batch_interrupted", batch_id=batch_id, error=str(error), exc_info=error)
        await asyncio.sleep(RETRY_SECONDS)


async def _advance(context: Context, batch_id: str) -> None:
    batch = await context.database.write(store.take, batch_id)
    file = await context.database.read(artifacts.find, batch.input_artifact)
    if file is None:
        raise NotFound(f"The input of batch {batch_id} is missing.")
    if batch.total == 0 and batch.status in (BatchStatus.VALIDATING, BatchStatus.CANCELLING):
        batch = await validate(context, batch, file)
        log.info("batch_validated", batch_id=batch_id, status=batch.status.value, lines=batch.total)
        if batch.status is BatchStatus.FAILED:
            await removal.discard(context)
            return
    if batch.status is not BatchStatus.FINALIZING:
        batch = await BatchRun(context, batch, file).run()
    await finish(context, batch, file)
    log.info("batch_ended", batch_id=batch_id, completed=batch.completed, lines=batch.total)


async def tidy(context: Context) -> None:
    """Delete expired files, and batches as old as jobs whose data is deleted."""
    await files.delete_expired(context)
    if (seconds := context.settings.job_retention_seconds) is not None:
        while await context.database.write(store.delete_old, context.clock() - seconds):
            pass
