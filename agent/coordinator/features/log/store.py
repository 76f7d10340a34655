"""The log's rows: queued leaves, numbered leaves, tiles, checkpoints and cosignatures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from sqlalchemy import Connection, and_, bindparam, delete, func, insert, or_, select, text, update

from agent.coordinator.features.log.tables import (
    log_checkpoints,
    log_cosignatures,
    log_leaves,
    log_queue,
    log_tiles,
)
from agent.coordinator.store import records
from agent.coordinator.store.ledger import COLUMNS, Status, TransactionKind, TransactionRecord
from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.schema.tables import receipts, transactions
from aitbc.merkle import leaf_hash


@dataclass(frozen=True, slots=True)
class NewLeaf:
    """A fact that must never change, such as a receipt. It is `derived` if its bytes can be made again from rows."""

    reference: str
    content: bytes
    derived: bool = False


@dataclass(frozen=True, slots=True)
class QueuedLeaf:
    """A leaf without a number. `content` is a settlement's leaf; a receipt's leaf is made from the receipt."""

    entry_id: int
    reference: str
    leaf_hash: bytes
    content: str | None


@dataclass(frozen=True, slots=True)
class LeafRecord:
    """A leaf: its number, its subject, and the source of its bytes: `content` or the `receipt` (JSON text)."""

    index: int
    reference: str
    content: str | None
    receipt: str | None


@dataclass(frozen=True, slots=True)
class CheckpointRecord:
    """A signed checkpoint. `note` has no cosignatures; `cosigned` is how many witnesses have cosigned it."""

    size: int
    root: bytes
    note: str
    created_at: float
    cosigned: int


@dataclass(frozen=True, slots=True)
class CosignatureRecord:
    """A witness's signature line under the checkpoint of `size`; `witness` is its vkey, `timestamp` in seconds."""

    size: int
    witness: str
    timestamp: int
    line: str


THINNED_AT_ONCE: Final = 1000
"""Checkpoints that `thin_checkpoints` examines at once."""
HOUR_SECONDS: Final = 3600

_queue = Prepared(insert(log_queue))
_is_tile = (log_tiles.c.level == bindparam("at_level"), log_tiles.c.tile_index == bindparam("at_index"))
_tile = Prepared(select(log_tiles.c.hashes).where(*_is_tile))
_drop_tile = Prepared(delete(log_tiles).where(*_is_tile))
_insert_tile = Prepared(insert(log_tiles))
_insert_leaf = Prepared(insert(log_leaves))
_dequeue = Prepared(delete(log_queue).where(log_queue.c.entry_id == bindparam("entry")))
_CHECKPOINT = records.columns(log_checkpoints, CheckpointRecord)
_COSIGNATURE = records.columns(log_cosignatures, CosignatureRecord)
_LEAVES = select(
    log_leaves.c.leaf_index, log_leaves.c.reference, log_leaves.c.content, receipts.c.receipt
).join_from(
    log_leaves,
    receipts,
    and_(receipts.c.receipt_id == log_leaves.c.reference, log_leaves.c.content.is_(None)),
    isouter=True,
)


def queue(connection: Connection, leaves: Sequence[NewLeaf]) -> None:
    """Queue leaves for the log. They get their numbers soon after this transaction."""
    rows = [
        {
            "reference": leaf.reference,
            "leaf_hash": leaf_hash(leaf.content),
            # What can be made again from a receipt is not stored twice.
            "content": None if leaf.derived else leaf.content.decode(),
        }
        for leaf in leaves
    ]
    _queue.run_many(connection, rows)


def queued(connection: Connection, limit: int | None = None, after_id: int = 0) -> list[QueuedLeaf]:
    """Return the queued leaves in order, at most `limit`, from those behind the entry `after_id`."""
    query = select(log_queue.c.entry_id, log_queue.c.reference, log_queue.c.leaf_hash, log_queue.c.content)
    page = query.where(log_queue.c.entry_id > after_id).order_by(log_queue.c.entry_id).limit(limit)
    return records.find_all(connection, QueuedLeaf, page)


def first_queued(connection: Connection, after_id: int = 0) -> int | None:
    """Return the first queued entry behind the entry `after_id`, or None."""
    oldest = select(func.min(log_queue.c.entry_id)).where(log_queue.c.entry_id > after_id)
    entry_id: int | None = connection.execute(oldest).scalar_one()
    return entry_id


def count_queued(connection: Connection) -> int:
    """Return how many leaves have no number yet."""
    return connection.execute(select(func.count()).select_from(log_queue)).scalar_one()


def is_queued(connection: Connection, reference: str) -> bool:
    """Return whether this leaf is queued. The queue is short: it has only leaves since the last checkpoint."""
    query = select(log_queue.c.entry_id).where(log_queue.c.reference == reference)
    return connection.execute(query).first() is not None


def number(connection: Connection, leaves: Sequence[QueuedLeaf], first: int) -> None:
    """Give queued leaves their numbers, from `first` on."""
    rows = [
        {"leaf_index": index, "reference": leaf.reference, "content": leaf.content}
        for index, leaf in enumerate(leaves, first)
    ]
    _insert_leaf.run_many(connection, rows)
    _dequeue.run_many(connection, [{"entry": leaf.entry_id} for leaf in leaves])


def index_of(connection: Connection, reference: str) -> int | None:
    """Return the number of a leaf, or None if it has none yet."""
    query = select(log_leaves.c.leaf_index).where(log_leaves.c.reference == reference)
    return connection.execute(query).scalar_one_or_none()


def leaves(connection: Connection, first: int, count: int) -> list[LeafRecord]:
    """Return the existing leaves in a range of numbers."""
    condition = log_leaves.c.leaf_index.between(first, first + count - 1)
    rows = connection.execute(_LEAVES.where(condition).order_by(log_leaves.c.leaf_index))
    return [LeafRecord(*row) for row in rows]


def count_leaves(connection: Connection) -> int:
    """Return how many leaves have numbers."""
    return connection.execute(select(func.count()).select_from(log_leaves)).scalar_one()


def tile(connection: Connection, level: int, index: int) -> bytes | None:
    """Return the hashes of a full or partial tile, or None."""
    hashes: bytes | None = _tile.scalar(connection, {"at_level": level, "at_index": index})
    return hashes


def put_tiles(connection: Connection, tiles: Mapping[tuple[int, int], bytes]) -> None:
    """Store tiles by level and index. A fuller tile replaces the stored one."""
    keys = [{"at_level": level, "at_index": index} for level, index in tiles]
    rows = [
        {"level": level, "tile_index": index, "hashes": hashes} for (level, index), hashes in tiles.items()
    ]
    # The last tile of each level grows, so it is replaced.
    _drop_tile.run_many(connection, keys)
    _insert_tile.run_many(connection, rows)


def all_tiles(connection: Connection) -> Iterator[tuple[int, int, bytes]]:
    """Iterate over all tiles: level, index, hashes."""
    query = select(log_tiles.c.level, log_tiles.c.tile_index, log_tiles.c.hashes)
    for row in connection.execute(query.order_by(log_tiles.c.level, log_tiles.c.tile_index)):
        yield row.level, row.tile_index, row.hashes


def add_checkpoint(connection: Connection, record: CheckpointRecord) -> None:
    """Store the only checkpoint of its size."""
    connection.execute(
        insert(log_checkpoints),
        records.values(record),
    )


def thin_checkpoints(connection: Connection, created_before: float, after_size: int = -1) -> int | None:
    """Delete old checkpoints, except the last of each hour and those that witnesses have cosigned.

    Some are examined, from those larger than `after_size` leaves on. Return after how many leaves to continue, None at the end.
    """
    size, created_at = log_checkpoints.c.size, log_checkpoints.c.created_at
    query = select(size, created_at, log_checkpoints.c.cosigned).where(
        size > after_size, created_at < created_before
    )
    rows = connection.execute(query.order_by(size).limit(THINNED_AT_ONCE)).all()
    thinned = [
        row.size
        for row, later in pairwise(rows)
        if not row.cosigned and row.created_at // HOUR_SECONDS == later.created_at // HOUR_SECONDS
    ]
    if thinned:
        connection.execute(delete(log_checkpoints).where(size.in_(thinned), log_checkpoints.c.cosigned == 0))
    # The last row could not be compared with its successor, so the next call begins with it.
    return rows[-2].size if len(rows) == THINNED_AT_ONCE else None


def newest_checkpoint(connection: Connection, cosigned: int = 0) -> CheckpointRecord | None:
    """Return the largest checkpoint that at least `cosigned` witnesses have cosigned, or None."""
    query = select(*_CHECKPOINT).order_by(log_checkpoints.c.size.desc()).limit(1)
    if cosigned:
        # The first condition is literally that of the partial index.
        query = query.where(text("cosigned > 0"), log_checkpoints.c.cosigned >= cosigned)
    return records.find(connection, CheckpointRecord, query)


def checkpoint_of(connection: Connection, size: int) -> CheckpointRecord | None:
    """Return the checkpoint of this size, or None."""
    return records.find(
        connection, CheckpointRecord, select(*_CHECKPOINT).where(log_checkpoints.c.size == size)
    )


def all_checkpoints(connection: Connection) -> Iterator[CheckpointRecord]:
    """Iterate over all checkpoints, the smallest first."""
    for row in connection.execute(select(*_CHECKPOINT).order_by(log_checkpoints.c.size)):
        yield CheckpointRecord(*row)


def cosignatures_of(connection: Connection, size: int) -> list[CosignatureRecord]:
    """Return the cosignatures of a checkpoint, ordered by witness."""
    query = select(*_COSIGNATURE).where(log_cosignatures.c.size == size).order_by(log_cosignatures.c.witness)
    return records.find_all(connection, CosignatureRecord, query)


def all_cosignatures(connection: Connection) -> Iterator[CosignatureRecord]:
    """Iterate over all cosignatures, those of the smallest checkpoint first."""
    query = select(*_COSIGNATURE).order_by(log_cosignatures.c.size, log_cosignatures.c.witness)
    for row in connection.execute(query):
        yield CosignatureRecord(*row)


def put_cosignatures(connection: Connection, size: int, cosignatures: Iterable[CosignatureRecord]) -> None:
    """Store cosignatures of one checkpoint. Only the newest of each witness is retained."""
    by_witness = {record.witness: record for record in cosignatures_of(connection, size)}
    for record in cosignatures:
        present = by_witness.get(record.witness)
        # Requests may arrive out of order; the latest cosignature counts.
        if present is not None and present.timestamp >= record.timestamp:
            continue
        condition = (log_cosignatures.c.size == size, log_cosignatures.c.witness == record.witness)
        connection.execute(delete(log_cosignatures).where(*condition))
        connection.execute(insert(log_cosignatures), records.values(record))
        by_witness[record.witness] = record
    connection.execute(
        update(log_checkpoints).where(log_checkpoints.c.size == size).values(cosigned=len(by_witness))
    )


def receipts_without_leaf(connection: Connection) -> list[str]:
    """Return the ids of receipts without a numbered or queued leaf."""
    query = (
        select(receipts.c.receipt_id)
        .outerjoin(log_leaves, log_leaves.c.reference == receipts.c.receipt_id)
        .outerjoin(log_queue, log_queue.c.reference == receipts.c.receipt_id)
        .where(log_leaves.c.leaf_index.is_(None), log_queue.c.entry_id.is_(None))
        .order_by(receipts.c.created_at)
    )
    return list(connection.execute(query).scalars())


def settlements_without_payment(connection: Connection) -> list[str]:
    """Return the references of settlements in the log whose transaction does not exist or is still pending."""
    query = (
        select(log_leaves.c.reference)
        .outerjoin(transactions, transactions.c.tx_id == log_leaves.c.reference)
        .where(
            log_leaves.c.content.is_not(None),
            log_leaves.c.reference.startswith("tx_", autoescape=True),
            or_(transactions.c.tx_id.is_(None), transactions.c.settled_at.is_(None)),
        )
        .order_by(log_leaves.c.leaf_index)
    )
    return list(connection.execute(query).scalars())


def closed_payments(connection: Connection) -> Iterator[tuple[TransactionRecord, str | None]]:
    """Iterate over the settled and refunded payments, each with its numbered or queued leaf of the log, or None."""
    leaf = func.coalesce(log_leaves.c.content, log_queue.c.content)
    query = (
        select(*COLUMNS, leaf)
        .outerjoin(log_leaves, log_leaves.c.reference == transactions.c.tx_id)
        .outerjoin(log_queue, log_queue.c.reference == transactions.c.tx_id)
        .where(
            transactions.c.kind == TransactionKind.PAYMENT.value,
            transactions.c.status != Status.PENDING.value,
        )
    )
    for row in connection.execute(query.execution_options(yield_per=1000)):
        yield TransactionRecord(*row[:-1]), row[-1]
