"""Storage quotas of accounts, jobs and miners, reservations for files in transfer, and removal of files no longer needed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

import structlog

from agent.coordinator.blobs.store import Stored
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import artifacts as artifact_store
from agent.coordinator.store import run_outputs
from agent.coordinator.store import uploads as upload_store
from agent.core.errors import InsufficientStorage, PayloadTooLarge

BATCH: Final = 500
"""Files that one query looks up."""
RESERVED_AHEAD: Final = 4 * 2**20
"""Bytes reserved at a time for a body of unknown length, if the quota has that many left."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Budget:
    """A quota of `limit` bytes. `owner` is the id of its account, job or miner, `whose` names it in messages; `used` counts stored bytes."""

    owner: str
    whose: str
    limit: int
    used: Callable[[Connection], int]
    advice: str
    error: type[PayloadTooLarge | InsufficientStorage] = PayloadTooLarge

    def check(self, connection: Connection, more: int) -> None:
        """Raise the budget's error if `more` bytes do not fit."""
        used = self.used(connection)
        if used + more > self.limit:
            raise self.error(
                f"{self.whose} may store {self.limit} bytes; this would bring it to {used + more}. {self.advice}",
                {"limit": self.limit, "used": used},
            )


def account_budget(context: Context, account_id: str) -> Budget:
    """Return the quota of an account."""
    return Budget(
        owner=account_id,
        whose="Your account",
        limit=context.settings.max_stored,
        used=partial(used_by, account_id=account_id),
        advice="Delete files that are no longer needed (DELETE /v1/artifacts/{id}), or ask the operator for a larger quota.",
    )


def run_budgets(context: Context, job_id: str, miner_id: str) -> tuple[Budget, ...]:
    """Return the quotas that apply to a run: its job's and its miner's."""
    settings = context.settings
    of_job = partial(run_outputs.bytes_of_job, job_id=job_id)
    of_miner = partial(run_outputs.bytes_of_miner, miner_id=miner_id)
    return (
        Budget(
            job_id, f"Job {job_id}", settings.max_job_outputs, of_job, "Ask for fewer or smaller outputs."
        ),
        # A miner without space retries a result, which succeeds once its other jobs have ended.
        Budget(
            miner_id,
            f"Miner {miner_id}",
            settings.max_miner_outputs,
            of_miner,
            "Deliver the results of other jobs first.",
            InsufficientStorage,
        ),
    )


def used_by(connection: Connection, account_id: str) -> int:
    """Return the bytes of the account's artifacts and the full lengths of its unfinished uploads."""
    _, reserved = upload_store.unfinished(connection, account_id)
    return artifact_store.bytes_of(connection, account_id) + reserved


class Reservation:
    """Space reserved for one body before its bytes arrive. Use `reserving`.

    A body of known length is reserved whole at once, one of unknown length some megabytes ahead of the received bytes.
    """

    def __init__(self, context: Context, budgets: Sequence[Budget]) -> None:
        self._context = context
        self._budgets = budgets
        self._owners = [budget.owner for budget in budgets]
        self._lock = threading.Lock()
        self._reserved = 0
        self._arrived = 0
        self._recorded = 0
        self._held = 0
        self._released = False

    async def cover(self, size: int) -> None:
        """Reserve enough for a body of `size` bytes. Raises `PayloadTooLarge`, `InsufficientStorage`."""
        self._context.space.check_disk(size - self._arrived)
        self._arrived = size
        if size > self._reserved:
            try:
                await self._grow(max(size, self._reserved + RESERVED_AHEAD))
            except (PayloadTooLarge, InsufficientStorage):
                await self._grow(size)

    async def reserve(self, size: int) -> None:
        """Reserve a whole body of known length. Raises as `cover` does."""
        self._context.space.check_disk(size)
        await self._grow(size)

    async def _grow(self, size: int) -> None:
        if self._budgets:
            # In the writer's thread, one at a time, so that two reservations never count on the same bytes.
            await self._context.database.write(self._hold, size - self._reserved)
        self._reserved = size

    def _hold(self, connection: Connection, more: int) -> None:
        for budget in self._budgets:
            budget.check(connection, self._context.space.held(budget.owner) + more)
        with self._lock:
            if not self._released:  # the request may have ended while this waited
                self._context.space.hold(self._owners, more)
                self._held += more

    def recorded(self, size: int) -> None:
        """Release the reservation of the first `size` bytes, which the database counts from now on."""
        with self._lock:
            fewer = min(self._held, size - self._recorded)
            self._context.space.hold(self._owners, -fewer)
            self._held -= fewer
        self._recorded = size

    def release(self) -> None:
        """Release the rest of the reservation."""
        with self._lock:
            self._released = True
            self._context.space.hold(self._owners, -self._held)
            self._held = 0


@asynccontextmanager
async def reserving(
    context: Context, budgets: Sequence[Budget], size: int | None
) -> AsyncIterator[Reservation]:
    """Reserve space for a body of `size` bytes (None: unknown). Raises `PayloadTooLarge`, `InsufficientStorage`."""
    reservation = Reservation(context, budgets)
    try:
        if size is not None:
            await reservation.reserve(size)
        yield reservation
    finally:
        reservation.release()


@asynccontextmanager
async def receiving(
    context: Context, budgets: Sequence[Budget], chunks: AsyncIterable[bytes], size: int | None
) -> AsyncIterator[Stored]:
    """Store a body, and run a block that records its owner. If the block fails, the bytes are removed.

    Raises `PayloadTooLarge`, before reading anything if the announced `size` does not fit, `InsufficientStorage`,
    `ServiceUnavailable`.
    """
    limit = context.settings.max_artifact
    if size is not None and size > limit:
        raise PayloadTooLarge(f"An artifact may have at most {limit} bytes.", {"limit": limit})
    async with reserving(context, budgets, size) as reservation:
        stored = await context.artifacts.store(chunks, reservation.cover)
        try:
            yield stored
        except BaseException:
            context.artifacts.unpin(stored.artifact_id)
            await asyncio.shield(discard(context, [stored.artifact_id]))
            raise
        context.artifacts.unpin(stored.artifact_id)


async def discard(context: Context, artifact_ids: Sequence[str]) -> None:
    """Remove the bytes of those artifacts that have no row. Call this after the transaction that deletes the rows."""
    for path in await context.database.write(_set_aside, context, artifact_ids):
        await asyncio.to_thread(path.unlink, missing_ok=True)


def _set_aside(connection: Connection, context: Context, artifact_ids: Sequence[str]) -> list[Path]:
    # In the writer's thread, so that no row appears between the query and the renaming.
    known = artifact_store.known(connection, artifact_ids)
    aside = (context.artifacts.set_aside(artifact_id) for artifact_id in set(artifact_ids) - known)
    return [path for path in aside if path is not None]


async def settle_run_outputs(context: Context) -> None:
    """Remove files of ended runs that are no longer needed, and charge their jobs' visible checkpoints to the accounts."""
    visible = {
        service_id
        for service_id, definition in context.services.items()
        if definition.checkpoints is not None and definition.checkpoints.outputs
    }
    while ended := await context.database.write(
        run_outputs.settle_ended, context.clock(), BATCH, visible_services=visible
    ):
        await discard(context, ended)


async def remove_orphans(context: Context) -> int:
    """Remove old blobs and upload parts that have no row in the database. Return their number.

    A crash between writing a file and its row leaves them. A file that is stored again meanwhile is young, and is retained. If
    the database has no files at all, nothing is removed: it may be waiting for a restore.
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
