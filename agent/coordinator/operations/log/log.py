"""The log as everybody may read it, and the cosignatures that witnesses bring.

A witness comes to the coordinator, and not the other way round as in https://c2sp.org/tlog-witness: it reads the checkpoint and
the tiles, convinces itself that the log only grew, and brings its signature line. So it needs no address that the
coordinator can reach, and the coordinator makes no calls to the outside. What is signed, and what is served, is the same.
"""

from __future__ import annotations

import time
from typing import Any, Final

import structlog

from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.sequencer import leaf_bytes, tree_of
from agent.coordinator.store import log as store
from agent.coordinator.store import receipts as receipt_store
from agent.coordinator.store.log import CheckpointRecord, CosignatureRecord
from agent.core.errors import Conflict, Forbidden, NotFound, ServiceUnavailable, ValidationFailed
from aitbc.errors import FormatError, VerificationError
from aitbc.keys import COSIGNATURE_TYPE, parse_vkey
from aitbc.log import Proof, parse_checkpoint
from aitbc.merkle import HASH_SIZE, inclusion_proof
from aitbc.notes import Note, find_cosignature, parse_note, parse_signatures
from aitbc.tiles import TILE_WIDTH, Tile, encode_entries, parse_tile_path

PROOF_SECONDS: Final = 5.0
"""How long a proof waits for the checkpoint that has its leaf; they are signed at least every second."""
MAX_INDEX: Final = 2**48
AHEAD_SECONDS: Final = 60
"""How far a witness's clock may be ahead of this one's."""

log = structlog.get_logger()


async def checkpoint(context: Context, cosigned: int) -> str:
    """The newest checkpoint that at least `cosigned` witnesses have cosigned, with all its cosignatures.

    Raises `NotFound` when there is none.
    """
    note = await context.database.read(_checkpoint, cosigned)
    if note is None and cosigned:
        raise NotFound(
            f"No checkpoint has been cosigned by {cosigned} witnesses yet.",
            {"witnesses": len(context.witnesses)},
        )
    if note is None:
        raise ServiceUnavailable("The log has not begun yet; try again in a moment.")
    return str(note)


def _checkpoint(connection: Connection, cosigned: int) -> Note | None:
    record = store.newest_checkpoint(connection, cosigned)
    return None if record is None else _cosigned_note(connection, record)


def _cosigned_note(connection: Connection, record: CheckpointRecord) -> Note:
    note = parse_note(record.note)
    if not record.cosigned:
        return note
    lines = "".join(item.line for item in store.cosignatures_of(connection, record.size))
    return note.with_signatures(*parse_signatures(lines))


async def tile(context: Context, path: str) -> bytes:
    """A tile of hashes or a bundle of entries by its path (`tile/0/x001/234.p/5`). Raises `NotFound` beyond the tree."""
    try:
        wanted = parse_tile_path(path)
        # No tree reaches higher, and the database holds no larger numbers.
        found = await context.database.read(_tile, wanted) if wanted.index < MAX_INDEX else None
    except FormatError:
        found = None
    if found is None:
        raise NotFound(f"The log has no {path}.")
    return found


def _tile(connection: Connection, wanted: Tile) -> bytes | None:
    if wanted.level is None:
        leaves = store.leaves(connection, wanted.index * TILE_WIDTH, wanted.width)
        return encode_entries([leaf_bytes(leaf) for leaf in leaves]) if len(leaves) == wanted.width else None
    hashes = store.tile(connection, wanted.level, wanted.index)
    size = wanted.width * HASH_SIZE
    return hashes[:size] if hashes is not None and len(hashes) >= size else None


async def proof(context: Context, reference: str) -> str:
    """The `tlog-proof@v1` of a receipt (by its id) or a settlement (by its transaction's id).

    Waits a moment for the checkpoint that has a new leaf. Raises `NotFound`, `Conflict` for a receipt that belongs into the log
    and is not there, and `ServiceUnavailable` when the checkpoint takes too long.
    """
    deadline = time.monotonic() + PROOF_SECONDS
    while True:
        found = await context.database.read(_proof, reference, len(context.witnesses))
        if found is not None:
            return str(found)
        rest = deadline - time.monotonic()
        if rest <= 0:
            raise ServiceUnavailable(f"{reference} has no place in a checkpoint yet; try again in a moment.")
        await context.log.next_checkpoint(min(rest, context.settings.log_checkpoint_seconds))


def _proof(connection: Connection, reference: str, witnesses: int) -> Proof | None:
    index = store.index_of(connection, reference)
    if index is None:
        if store.is_queued(connection, reference):
            return None
        if receipt_store.find(connection, reference) is not None:
            raise Conflict(f"{reference} is missing in the log. The operator's `aitbc-agent fsck` says more.")
        raise NotFound(f"The log has no {reference}.", {"reference": reference})
    # The one with the most cosignatures, so that as many policies as possible accept the proof.
    for cosigned in range(witnesses, -1, -1):
        record = store.newest_checkpoint(connection, cosigned)
        if record is not None and record.size > index:
            hashes = inclusion_proof(tree_of(connection, record.size), index, record.size)
            return Proof(index, tuple(hashes), _cosigned_note(connection, record))
    raise Conflict(
        f"{reference} stands behind the newest checkpoint. The operator's `aitbc-agent fsck` says more."
    )


async def cosign(context: Context, body: bytes) -> dict[str, Any]:
    """Take the cosignatures of witnesses: a checkpoint of this log with their signature lines below it.

    Raises `ValidationFailed` for what is no signed checkpoint, or a cosignature that does not verify or is from the future;
    `Forbidden` when no line is of a witness that this coordinator knows; `Conflict` for a checkpoint that it never signed.
    """
    try:
        note = parse_note(body)
        size = parse_checkpoint(note.text).size
        found = {witness: find_cosignature(note, witness) for witness in context.witnesses}
    except FormatError as error:
        raise ValidationFailed("This is no signed checkpoint.", {"body": str(error)}) from None
    except VerificationError as error:
        raise ValidationFailed("A cosignature is wrong.", {"body": str(error)}) from None
    records = [
        CosignatureRecord(size=size, witness=witness, timestamp=cosignature[1], line=cosignature[0].line)
        for witness, cosignature in found.items()
        if cosignature is not None
    ]
    if not records:
        raise Forbidden("No line is signed by a witness of this log (`coordinator.witnesses` names them).")
    if any(record.timestamp > context.clock() + AHEAD_SECONDS for record in records):
        raise ValidationFailed("A cosignature is wrong.", {"body": "Its time is in the future."})
    await context.database.write(_cosign, note, records)
    names = sorted(parse_vkey(record.witness, COSIGNATURE_TYPE)[0] for record in records)
    log.info("checkpoint_cosigned", size=size, witnesses=names)
    return {"size": size, "cosigned_by": names}


def _cosign(connection: Connection, note: Note, records: list[CosignatureRecord]) -> None:
    size = records[0].size
    known = store.checkpoint_of(connection, size)
    if known is None or parse_note(known.note).text != note.text:
        raise Conflict(
            f"This log has not signed such a checkpoint of {size} leaves. Cosign the one at /v1/log/checkpoint, as it is."
        )
    store.put_cosignatures(connection, size, records)
