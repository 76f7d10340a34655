"""Public read access to the log, and cosignatures by witnesses.

Witnesses call the coordinator, not the other way round as in https://c2sp.org/tlog-witness: a witness reads the checkpoint and
the tiles, verifies that the log only grew, and submits its signature line. So it needs no address that the coordinator can
reach, and the coordinator makes no outgoing calls. The signed and the served data are the same.
"""

from __future__ import annotations

import time
from typing import Final

import structlog

from agent.coordinator.features.log import store
from agent.coordinator.features.log.answers import CheckpointCosigned
from agent.coordinator.features.log.sequencer import Sequencer, leaf_bytes, tree_of
from agent.coordinator.features.log.settings import TransparencyLogSettings
from agent.coordinator.features.log.store import CheckpointRecord, CosignatureRecord
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import receipts
from agent.core.errors import Conflict, Forbidden, NotFound, ServiceUnavailable, ValidationFailed
from agent.sections import section_of
from aitbc.errors import FormatError, VerificationError
from aitbc.keys import COSIGNATURE_TYPE, parse_vkey
from aitbc.log import Proof, parse_checkpoint
from aitbc.merkle import HASH_SIZE, inclusion_proof
from aitbc.notes import Note, find_cosignature, parse_note, parse_signatures
from aitbc.tiles import TILE_WIDTH, Tile, encode_entries, parse_tile_path

PROOF_SECONDS: Final = 5.0
"""How long a proof waits for a checkpoint that includes its leaf; checkpoints are signed at least every second."""
THINNING_SECONDS: Final = 3600.0
"""Pause between two deletions of old checkpoints."""
MAX_INDEX: Final = 2**48
AHEAD_SECONDS: Final = 60
"""How far a witness's clock may be ahead of this clock."""

log = structlog.get_logger()


async def checkpoint(context: Context, cosigned: int) -> str:
    """Return the newest checkpoint that at least `cosigned` witnesses have cosigned, with all its cosignatures.

    Raises `NotFound` if there is none.
    """
    note = await context.database.read(_checkpoint, cosigned)
    if note is None and cosigned:
        raise NotFound(
            f"No checkpoint has {cosigned} cosignatures yet.",
            {"witnesses": len(context.part(Sequencer).witnesses)},
        )
    if note is None:
        raise ServiceUnavailable("The log has no checkpoint yet. Try again in a moment.")
    return str(note)


def _checkpoint(connection: Connection, cosigned: int) -> Note | None:
    record = store.newest_checkpoint(connection, cosigned)
    return None if record is None else _cosigned_note(connection, record)


def _cosigned_note(connection: Connection, record: CheckpointRecord) -> Note:
    note = parse_note(record.note)
    # Most checkpoints have no cosignatures, which saves a query.
    if not record.cosigned:
        return note
    lines = "".join(item.line for item in store.cosignatures_of(connection, record.size))
    return note.with_signatures(*parse_signatures(lines))


async def tile(context: Context, path: str) -> bytes:
    """Return a tile of hashes or a bundle of entries by its path (`tile/0/x001/234.p/5`). Raises `NotFound` beyond the tree."""
    try:
        parsed = parse_tile_path(path)
        # No tree grows that large, and the database cannot hold larger numbers.
        content = await context.database.read(_tile, parsed) if parsed.index < MAX_INDEX else None
    except FormatError:
        content = None
    if content is None:
        raise NotFound(f"The log has no {path}.")
    return content


def _tile(connection: Connection, tile: Tile) -> bytes | None:
    if tile.level is None:
        leaves = store.leaves(connection, tile.index * TILE_WIDTH, tile.width)
        # A tile that is not complete yet has another path, so this one must not be cached with fewer entries.
        return encode_entries([leaf_bytes(leaf) for leaf in leaves]) if len(leaves) == tile.width else None
    hashes = store.tile(connection, tile.level, tile.index)
    size = tile.width * HASH_SIZE
    return hashes[:size] if hashes is not None and len(hashes) >= size else None


async def proof(context: Context, reference: str) -> str:
    """Return the `tlog-proof@v1` of a receipt (by its id) or a settlement (by its transaction's id).

    For a new leaf, waits for the next checkpoint. Raises `NotFound`, `Conflict` for a receipt that is missing from the log, and
    `ServiceUnavailable` if the checkpoint takes too long.
    """
    deadline = time.monotonic() + PROOF_SECONDS
    while True:
        answer = await context.database.read(_proof, reference, len(context.part(Sequencer).witnesses))
        if answer is not None:
            return str(answer)
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise ServiceUnavailable(f"No checkpoint includes {reference} yet. Try again in a moment.")
        await context.part(Sequencer).next_checkpoint(
            min(remaining, section_of(context.settings, TransparencyLogSettings).log_checkpoint_seconds)
        )


def _proof(connection: Connection, reference: str, witnesses: int) -> Proof | None:
    index = store.index_of(connection, reference)
    # New leaves get their numbers a moment later, so this is not an error yet.
    if index is None:
        if store.is_queued(connection, reference):
            return None
        if receipts.find(connection, reference) is not None:
            raise Conflict(
                f"{reference} is missing from the log. The operator can run `aitbc-agent fsck` for details."
            )
        raise NotFound(f"The log has no {reference}.", {"reference": reference})
    # Use the checkpoint with the most cosignatures, so that as many policies as possible accept the proof.
    for cosigned in range(witnesses, -1, -1):
        record = store.newest_checkpoint(connection, cosigned)
        if record is not None and record.size > index:
            hashes = inclusion_proof(tree_of(connection, record.size), index, record.size)
            return Proof(index, tuple(hashes), _cosigned_note(connection, record))
    raise Conflict(
        f"No checkpoint includes {reference}, although it is in the log. The operator can run `aitbc-agent fsck` for details."
    )


async def cosign(context: Context, body: bytes) -> CheckpointCosigned:
    """Store the cosignatures of witnesses. `body` is a checkpoint of this log followed by their signature lines.

    Raises `ValidationFailed` if it is not a signed checkpoint, or a cosignature is invalid or from the future; `Forbidden` if no line
    is from a configured witness; `Conflict` for a checkpoint that this coordinator never signed.
    """
    try:
        note = parse_note(body)
        size = parse_checkpoint(note.text).size
        cosignatures = {
            witness: find_cosignature(note, witness) for witness in context.part(Sequencer).witnesses
        }
    except FormatError as error:
        raise ValidationFailed("The body is not a signed checkpoint.", {"body": str(error)}) from None
    except VerificationError as error:
        raise ValidationFailed("A cosignature is not valid.", {"body": str(error)}) from None
    records = [
        CosignatureRecord(size=size, witness=witness, timestamp=cosignature[1], line=cosignature[0].line)
        for witness, cosignature in cosignatures.items()
        if cosignature is not None
    ]
    if not records:
        raise Forbidden("No line is signed by a witness of this log (setting coordinator.witnesses).")
    # A cosignature from the future could not be replaced by a later one.
    if any(record.timestamp > context.clock() + AHEAD_SECONDS for record in records):
        raise ValidationFailed("A cosignature is not valid.", {"body": "Its time is in the future."})
    await context.database.write(_cosign, note, records)
    names = sorted(parse_vkey(record.witness, COSIGNATURE_TYPE)[0] for record in records)
    log.info("checkpoint_cosigned", size=size, witnesses=names)
    return CheckpointCosigned(size=size, cosigned_by=names)


def _cosign(connection: Connection, note: Note, records: list[CosignatureRecord]) -> None:
    size = records[0].size
    stored = store.checkpoint_of(connection, size)
    # A signed checkpoint that is not in the database means that the log was forked.
    if stored is None or parse_note(stored.note).text != note.text:
        raise Conflict(
            f"This log has not signed this checkpoint of {size} leaves. Cosign the one at /v1/log/checkpoint, unchanged."
        )
    store.put_cosignatures(connection, size, records)


async def thin_checkpoints(context: Context) -> None:
    """Delete old checkpoints, each of which a later one confirms."""
    created_before = (
        context.clock() - section_of(context.settings, TransparencyLogSettings).checkpoint_retention_seconds
    )
    last_size: int | None = -1
    while last_size is not None:
        last_size = await context.database.write(store.thin_checkpoints, created_before, last_size)
