"""The append-only Merkle log of receipts and settlements, after C2SP (https://c2sp.org/tlog-tiles, tlog-checkpoint).

A leaf is queued in the transaction of its subject as one short row, so that completing a job waits for nothing else. The
sequencer numbers queued leaves in batches, fills the tiles, and signs a checkpoint, all in one transaction. So the tree in the
database always is the tree of its newest checkpoint, even after a crash.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from agent.coordinator.features.log import store
from agent.coordinator.features.log.store import CheckpointRecord, LeafRecord
from agent.coordinator.signer import Signer
from agent.coordinator.store import locks
from agent.coordinator.store.database import Connection, Database
from agent.core.errors import ConfigurationError
from agent.fault_points import reach
from aitbc.errors import FormatError, VerificationError
from aitbc.log import Checkpoint, open_checkpoint, receipt_leaf
from aitbc.merkle import EMPTY_ROOT, HASH_SIZE, root_hash
from aitbc.notes import sign_note
from aitbc.tiles import Tile, TiledTree, TileReader, grow

BATCH: Final = 512
"""Leaves that are numbered in one transaction. It delays other writes by less than 10 ms."""
RETRY_SECONDS: Final = 1.0
LATE_SECONDS: Final = 20.0
"""An entry of the queue is visible this long after it got its number."""
EVERYTHING_SECONDS: Final = 600.0
"""How often the whole queue is read nevertheless."""
PUBLISHED: Final = "log.checkpoint"
"""The file with the newest published checkpoint, in the coordinator's directory."""

log = structlog.get_logger()


class LogInconsistent(Exception):
    """The tree in the database does not match its newest checkpoint. It is not extended."""


def tile_reader(connection: Connection) -> TileReader:
    """Return a reader of tiles from the database. It raises `LogInconsistent` for a tile that is missing or too short."""

    def read(tile: Tile) -> bytes:
        hashes = store.tile(connection, tile.level or 0, tile.index)
        if hashes is None or len(hashes) < tile.width * HASH_SIZE:
            raise LogInconsistent(f"{tile.path} is missing")
        # A stored tile may have grown since the tree of this size.
        return hashes[: tile.width * HASH_SIZE]

    return read


def tree_of(connection: Connection, size: int) -> TiledTree:
    """Return the tree of the first `size` leaves."""
    return TiledTree(tile_reader(connection), size)


def leaf_bytes(leaf: LeafRecord) -> bytes:
    """Return a leaf's bytes, made from its subject. Raises `LogInconsistent` if the subject is missing or malformed."""
    if leaf.content is not None:
        return leaf.content.encode()
    if leaf.receipt is None:
        raise LogInconsistent(f"{leaf.reference} is missing")
    try:
        return receipt_leaf(json.loads(leaf.receipt)["envelope"])
    except (ValueError, LookupError, TypeError) as error:
        raise LogInconsistent(f"{leaf.reference} is malformed: {error}") from None


def check(connection: Connection, signer: Signer) -> CheckpointRecord | None:
    """Return the newest checkpoint if it is signed by the log's key and matches the tree in the database.

    Return None if there is no checkpoint. Raises `LogInconsistent`.
    """
    newest = store.newest_checkpoint(connection)
    if newest is None:
        return None
    try:
        signed = open_checkpoint(newest.note, signer.vkey)
    except VerificationError as error:
        raise LogInconsistent(
            f"the checkpoint of {newest.size} leaves is not from this log: {str(error).rstrip('.')}"
        ) from None
    if signed != Checkpoint(signer.origin, newest.size, newest.root):
        raise LogInconsistent(f"the checkpoint of {newest.size} leaves does not match its row")
    if root_hash(tree_of(connection, newest.size), newest.size) != newest.root:
        raise LogInconsistent(f"the tree of {newest.size} leaves does not have the root of its checkpoint")
    return newest


class Passed:
    """How far the queue is empty.

    While a transaction of another program holds a snapshot, PostgreSQL has to pass all entries that were deleted since. So reading begins
    behind an entry before which nothing was queued a while ago, and now and then at the beginning, in case a transaction took even longer.
    """

    def __init__(self) -> None:
        self._first: deque[tuple[float, int]] = deque()
        self._after = 0
        self._everything_at = 0.0

    def after(self, now: float) -> int:
        """Return the entry behind which reading begins."""
        if now >= self._everything_at:
            self._everything_at = now + EVERYTHING_SECONDS
            return 0
        while self._first and self._first[0][0] < now - LATE_SECONDS:
            self._after = self._first.popleft()[1] - 1
        return self._after

    def note(self, entry_id: int, now: float) -> None:
        """Note the first entry that is queued."""
        self._first.append((now, entry_id))


def integrate(
    connection: Connection, signer: Signer, now: float, after_id: int = 0
) -> tuple[CheckpointRecord | None, bool]:
    """Number a batch of queued leaves, of those behind the entry `after_id`, and sign the checkpoint of the resulting tree.

    Sign a checkpoint of the empty tree if there is none yet. Return the new checkpoint, or None if there was nothing to do, and
    whether more leaves may be queued. Raises `LogInconsistent`, changing nothing.
    """
    # One writer at a time, since each checkpoint follows from the one before.
    locks.wait(connection, "log")
    # Checked each time: signing on top of a damaged tree would make the damage permanent.
    newest = check(connection, signer)
    leaves = store.queued(connection, BATCH, after_id)
    if newest is not None and not leaves:
        return None, False
    old_size = newest.size if newest else 0
    tiles = grow(tile_reader(connection), old_size, [leaf.leaf_hash for leaf in leaves])
    if leaves:
        store.put_tiles(connection, {(tile.level or 0, tile.index): tiles[tile] for tile in tiles})
        # In the transaction of the checkpoint, so there is never a number without a signature.
        store.number(connection, leaves, old_size)
    size = old_size + len(leaves)
    root = root_hash(tree_of(connection, size), size) if size else EMPTY_ROOT
    note = sign_note(Checkpoint(signer.origin, size, root).text, signer.origin, signer.key)
    record = CheckpointRecord(size=size, root=root, note=str(note), created_at=now, cosigned=0)
    store.add_checkpoint(connection, record)
    return record, len(leaves) == BATCH


class Sequencer:
    """Extends the log. `run` is the loop. `fault` is why leaves get no numbers at present, or None. `witnesses` are vkeys.

    `published` is a file next to the database with the newest published checkpoint. It survives when the database is restored from
    a backup, so that such a log is not continued in conflict with that checkpoint.
    """

    def __init__(
        self,
        database: Database,
        signer: Signer,
        clock: Callable[[], float],
        *,
        seconds: float,
        published: Path,
        witnesses: tuple[str, ...] = (),
    ) -> None:
        self._database = database
        self.signer = signer
        self._clock = clock
        self._seconds = seconds
        self._published = published
        self._signed = asyncio.Event()
        self._passed = Passed()
        self.fault: str | None = None
        self.witnesses = witnesses

    def check_at_start(self, key_file: Path) -> None:
        """Check that the log can be continued with the key of this file. Raises `ConfigurationError` that states what to do."""
        try:
            newest = self._database.read_now(check, self.signer)
            # The database may have been restored from a backup that is older than what was published.
            promised = read_published(self._published, self.signer.vkey)
            if promised is not None:
                self._database.read_now(_require, promised, newest)
        except LogInconsistent as error:
            raise ConfigurationError(
                f"The log cannot be continued with {key_file} and the origin {self.signer.origin}: {error}. If that is another key, restore it "
                "from your backup, or copy it from another replica; otherwise run `aitbc-agent fsck`; docs/reference/transparency-log.md "
                "describes the next steps."
            ) from None

    async def next_checkpoint(self, seconds: float) -> None:
        """Wait up to `seconds` until the next checkpoint is signed."""
        try:
            async with asyncio.timeout(seconds):
                await self._signed.wait()
        except TimeoutError:
            return

    async def begin(self) -> None:
        """Number what is queued. A new log has a checkpoint then, of the empty tree."""
        await self._guarded(first=True)

    async def run(self) -> None:
        """Number leaves and sign checkpoints until cancelled, after `begin`."""
        try:
            while True:
                await asyncio.sleep(
                    self._seconds if self.fault is None else max(self._seconds, RETRY_SECONDS)
                )
                await self._guarded()
        finally:
            self.fault = None

    async def close(self) -> None:
        """Do nothing: `run` holds nothing open."""

    async def _guarded(self, *, first: bool = False) -> None:
        try:
            now = time.monotonic()
            after_id = self._passed.after(now)
            entry_id = await self._database.read(store.first_queued, after_id)
            if entry_id is not None:
                self._passed.note(entry_id, now)
            # After a fault, also an empty round shows whether the log can continue.
            if first or self.fault or entry_id is not None:
                await self._integrate(after_id)
        except Exception as error:  # leaves stay queued, and the next round retries
            self.fault = str(error)
            log.exception("log_not_continued")
        else:
            self.fault = None

    async def _integrate(self, after_id: int) -> None:
        record, more_queued = None, True
        while more_queued:
            signed, more_queued = await self._database.write(integrate, self.signer, self._clock(), after_id)
            record = signed or record
        if record is None:
            return
        reach("log.signed")
        # After the transaction: a published checkpoint must exist in the database, not the other way round.
        await asyncio.to_thread(write_published, self._published, record.note)
        # Those who wait hold the old event; later ones wait for the next checkpoint.
        signed_now, self._signed = self._signed, asyncio.Event()
        signed_now.set()
        log.debug("checkpoint_signed", size=record.size)


def _require(connection: Connection, promised: Checkpoint, newest: CheckpointRecord | None) -> None:
    """Raise `LogInconsistent` unless the log in the database continues a published checkpoint."""
    size = newest.size if newest else 0
    if promised.size > size:
        raise LogInconsistent(
            f"a checkpoint of {promised.size} leaves was published, but the database has {size} (was it restored from a backup?)"
        )
    if root_hash(tree_of(connection, promised.size), promised.size) != promised.root:
        raise LogInconsistent(f"the published checkpoint of {promised.size} leaves is of a different tree")


def read_published(path: Path, log_key: str) -> Checkpoint | None:
    """Return the newest published checkpoint, or None if there is none. Raises `LogInconsistent` if it is from another log."""
    try:
        note = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        note = ""
    try:
        return open_checkpoint(note, log_key)
    except FormatError as error:
        raise LogInconsistent(f"{path} is damaged: {error}") from None
    except VerificationError as error:
        raise LogInconsistent(f"{path} is from another log: {error}") from None


def write_published(path: Path, note: str) -> None:
    """Write the published checkpoint atomically: a crash leaves the previous one or this one."""
    temporary = path.with_suffix(".new")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(note)
        file.flush()
        # On the disk before it gets its name, so that a power failure leaves the old file or the new one.
        os.fsync(file.fileno())
    reach("log.publishing")
    temporary.replace(path)
