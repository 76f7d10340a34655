"""How much accounts, jobs and miners may store, what is reserved before bytes arrive, and the removal of unneeded files."""

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
"""Files that the database is asked about at a time."""
RESERVED_AHEAD: Final = 4 * 2**20
"""Bytes that are reserved at a time for a body of unknown length, where the quota has as many left."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Budget:
    """A quota of `limit` bytes. `owner` is the id that it is kept for, `whose` that in words, `used` what the database counts."""

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
                f"{self.whose} may store {self.limit} bytes, and this would make it {used + more}. {self.advice}",
                {"limit": self.limit, "used": used},
            )


def account_budget(context: Context, account_id: str) -> Budget:
    """What an account may store."""
    return Budget(
        owner=account_id,
        whose="Your account",
        limit=context.settings.max_stored,
        used=partial(used_by, account_id=account_id),
        advice="Delete files that are no longer needed (DELETE /v1/artifacts/{id}), or ask the operator for a larger quota.",
    )


def run_budgets(context: Context, job_id: str, miner_id: str) -> tuple[Budget, ...]:
    """What a run may store: within its job's quota, and within its miner's."""
    settings = context.settings
    of_job = partial(run_outputs.bytes_of_job, job_id=job_id)
    of_miner = partial(run_outputs.bytes_of_miner, miner_id=miner_id)
    return (
        Budget(
            job_id, f"Job {job_id}", settings.max_job_outputs, of_job, "Ask for fewer or smaller outputs."
        ),
        # Finished work waits at the miner until its other jobs have ended.
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
    """Bytes of the account's artifacts, and those that its unfinished uploads are to have."""
    _, reserved = upload_store.unfinished(connection, account_id)
    return artifact_store.bytes_of(connection, account_id) + reserved


class Reservation:
    """Space for one body, promised before its bytes arrive. Use `reserving`.

    A body whose length is known is promised all of it at once, another one some megabytes ahead of what has arrived.
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
        """Make sure that the body may have `size` bytes. Raises `PayloadTooLarge`, `InsufficientStorage`."""
        self._context.space.check_disk(size - self._arrived)
        self._arrived = size
        if size > self._reserved:
            try:
                await self._grow(max(size, self._reserved + RESERVED_AHEAD))
            except (PayloadTooLarge, InsufficientStorage):
                await self._grow(size)

    async def reserve(self, size: int) -> None:
        """Reserve the whole body, whose length is known. Raises as `cover`."""
        self._context.space.check_disk(size)
        await self._grow(size)

    async def _grow(self, size: int) -> None:
        if self._budgets:
            # In the writer's thread, one after the other, so that no two of them count on the same bytes.
            await self._context.database.write(self._hold, size - self._reserved)
        self._reserved = size

    def _hold(self, connection: Connection, more: int) -> None:
        for budget in self._budgets:
            budget.check(connection, self._context.space.held(budget.owner) + more)
        with self._lock:
            if not self._released:  # else the request has ended while this waited
                self._context.space.hold(self._owners, more)
                self._held += more

    def recorded(self, size: int) -> None:
        """Note that the database counts the first `size` bytes of the body from now on."""
        with self._lock:
            fewer = min(self._held, size - self._recorded)
            self._context.space.hold(self._owners, -fewer)
            self._held -= fewer
        self._recorded = size

    def release(self) -> None:
        """Take back what was promised."""
        with self._lock:
            self._released = True
            self._context.space.hold(self._owners, -self._held)
            self._held = 0


@asynccontextmanager
async def reserving(
    context: Context, budgets: Sequence[Budget], size: int | None
) -> AsyncIterator[Reservation]:
    """Space for a body of `size` bytes (None: not known yet). Raises `PayloadTooLarge`, `InsufficientStorage`."""
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
    """Store a body, for a block that writes down whose it is. If the block fails, the bytes are removed again.

    Raises `PayloadTooLarge`, also before anything is read when the announced `size` does not fit, `InsufficientStorage`,
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
    """Remove the bytes of those of these artifacts that the database does not know. Call it after their rows were dropped for good."""
    for path in await context.database.write(_set_aside, context, artifact_ids):
        await asyncio.to_thread(path.unlink, missing_ok=True)


def _set_aside(connection: Connection, context: Context, artifact_ids: Sequence[str]) -> list[Path]:
    # In the writer's thread, so that no row appears between the question and the renaming.
    known = artifact_store.known(connection, artifact_ids)
    aside = (context.artifacts.set_aside(artifact_id) for artifact_id in set(artifact_ids) - known)
    return [path for path in aside if path is not None]


async def settle_run_outputs(context: Context) -> None:
    """Remove what ended runs have stored and nobody needs, and count their jobs' checkpoints to the accounts."""
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
