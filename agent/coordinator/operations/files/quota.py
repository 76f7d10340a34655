"""Storage quotas of accounts, jobs and miners, and reservations for files in transfer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from agent.coordinator import hooks
from agent.coordinator.blobs.space import Space
from agent.coordinator.blobs.store import Stored
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.files import removal
from agent.coordinator.store import artifacts, locks, run_outputs
from agent.core.errors import InsufficientStorage, PayloadTooLarge

RESERVED_AHEAD: Final = 4 * 2**20
"""Bytes reserved at a time for a body of unknown length, if the quota has that many left."""
OTHERS_SECONDS: Final = 60.0
"""How long the first of several uploads that do not fit together waits for another one to end."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A quota of `limit` bytes. `owner` is the id of its account, job or miner, `whose` names it in messages; `count_used` counts stored bytes."""

    owner: str
    whose: str
    limit: int
    count_used: Callable[[Connection], int]
    advice: str
    error: type[PayloadTooLarge | InsufficientStorage] = PayloadTooLarge

    def check(self, connection: Connection, size: int, space: Space | None = None) -> None:
        """Raise the budget's error if `size` bytes do not fit beside the reservations in `space`.

        Until the transaction ends, no other decides about this quota.
        """
        locks.storage(connection, self.owner)
        if space is not None:
            size += space.held(self.owner)
        stored = self.count_used(connection)
        if stored + size > self.limit:
            raise self.error(
                f"{self.whose} may store {self.limit} bytes; this would bring it to {stored + size}. {self.advice}",
                {"limit": self.limit, "used": stored},
            )


def account_budget(context: Context, account_id: str) -> Budget:
    """Return the quota of an account."""
    return Budget(
        owner=account_id,
        whose="Your account",
        limit=context.settings.max_stored,
        count_used=partial(used_by, account_id=account_id),
        advice="Delete files that are no longer needed (DELETE /v1/artifacts/{id}) or ended jobs with large parameters (DELETE /v1/jobs/{id}/data), or ask the operator for a larger quota.",
    )


def run_budgets(context: Context, job_id: str, miner_id: str) -> tuple[Budget, ...]:
    """Return the quotas that apply to a run: its job's and its miner's."""
    settings = context.settings
    of_job = partial(used_for_job, job_id=job_id)
    of_miner = partial(used_by_miner, miner_id=miner_id)
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
    return artifacts.bytes_of(connection, account_id) + reserved_by(connection, account_id)


def used_for_job(connection: Connection, job_id: str) -> int:
    """Return the bytes that runs have stored for the job, and the sizes of their unfinished uploads."""
    return run_outputs.bytes_of_job(connection, job_id) + reserved_by(connection, job_id)


def used_by_miner(connection: Connection, miner_id: str) -> int:
    """Return the bytes that the miner has stored for unfinished jobs, and the sizes of its unfinished uploads."""
    return run_outputs.bytes_of_miner(connection, miner_id) + reserved_by(connection, miner_id)


def reserved_by(connection: Connection, owner: str) -> int:
    """Return the bytes that the unfinished uploads of an account, a job or a miner reserve."""
    return sum(size for _, size in hooks.unfinished_uploads(connection, owner))


class Reservation:
    """Space reserved for one body before its bytes arrive. Use `reserving`.

    A body of known length is reserved whole at once, one of unknown length some megabytes ahead of the received bytes. Of several
    that do not fit together, the one that reserved first waits for the others, which are refused as soon as they need more.
    """

    def __init__(self, context: Context, budgets: Sequence[Budget]) -> None:
        self._context = context
        self._budgets = budgets
        self._owners = [budget.owner for budget in budgets]
        self._lock = threading.Lock()
        self._another_ended = asyncio.Event()
        self._reserved = 0
        self._arrived = 0
        self._recorded = 0
        self._held = 0
        self._growth = 0
        self._released = False

    async def cover(self, size: int) -> None:
        """Reserve enough for a body of `size` bytes. Raises `PayloadTooLarge`, `InsufficientStorage`."""
        self._context.files.space.check_disk(size - self._arrived)
        self._arrived = size
        if size > self._reserved:
            try:
                await self._grow(max(size, self._reserved + RESERVED_AHEAD))
            except (PayloadTooLarge, InsufficientStorage):
                await self._grow_in_turn(size)

    async def _grow_in_turn(self, size: int) -> None:
        space = self._context.files.space
        while True:
            # Cleared before the attempt: a body that ends during it must not be missed.
            self._another_ended.clear()
            try:
                return await self._grow(size)
            except (PayloadTooLarge, InsufficientStorage):
                # If each were refused because of what the others hold, none would be stored. Only the first waits, so that no two
                # wait for each other.
                if space.is_first_of_several(self._another_ended, self._owners):
                    with suppress(TimeoutError):
                        async with asyncio.timeout(OTHERS_SECONDS):
                            await self._another_ended.wait()
                if not self._another_ended.is_set():
                    raise

    async def reserve(self, size: int) -> None:
        """Reserve a whole body of known length. Raises as `cover` does."""
        self._context.files.space.check_disk(size)
        await self._grow(size)

    async def _grow(self, size: int) -> None:
        if self._budgets:
            # In a transaction that locks the quotas, so that two reservations never count on the same bytes.
            await self._context.database.write(self._hold, size - self._reserved)
        self._reserved, self._growth = size, 0

    def _hold(self, connection: Connection, size: int) -> None:
        """Hold `size` bytes. If the transaction is run again, they are held already."""
        size -= self._growth
        for budget in self._budgets:
            budget.check(connection, size, self._context.files.space)
        with self._lock:
            # The request may have ended while this waited; nobody would release these bytes again.
            if not self._released:
                self._context.files.space.hold(self._another_ended, self._owners, size)
                self._held += size
                self._growth += size

    def recorded(self, size: int) -> None:
        """Release the reservation of the first `size` bytes, which the database counts from now on."""
        with self._lock:
            if not self._released:
                fewer = min(self._held, size - self._recorded)
                self._context.files.space.hold(self._another_ended, self._owners, -fewer)
                self._held -= fewer
        self._recorded = size

    def release(self) -> None:
        """Release the rest of the reservation."""
        with self._lock:
            self._released = True
            self._context.files.space.end(self._another_ended, self._owners)
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


def check_size(context: Context, size: int) -> None:
    """Raise `PayloadTooLarge` if a file is larger than an artifact may be."""
    limit = context.settings.max_artifact
    if size > limit:
        raise PayloadTooLarge(f"An artifact may have at most {limit} bytes.", {"limit": limit})


@asynccontextmanager
async def receiving(
    context: Context, budgets: Sequence[Budget], chunks: AsyncIterable[bytes], size: int | None
) -> AsyncIterator[Stored]:
    """Store a body, and run a block that records its owner. If the block fails, the bytes are removed.

    Raises `PayloadTooLarge`, before reading anything if the announced `size` does not fit, `InsufficientStorage`,
    `ServiceUnavailable`.
    """
    check_size(context, size or 0)
    async with reserving(context, budgets, size) as reservation:
        stored = await context.files.blobs.store(chunks, reservation.cover)
        try:
            yield stored
        finally:
            await asyncio.shield(removal.discard_redundant(context, stored.artifact_id, stored.name))
