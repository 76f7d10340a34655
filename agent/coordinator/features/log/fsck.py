"""Checks a coordinator's data: derives the log again from receipts and settlements, and reports where they disagree.

Everything that can be computed is computed: leaves from their receipts and settlements, tiles and roots from leaves, signatures
from keys. The check only reads, in one snapshot of the database, so it can run while an agent runs, or on a copy.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from agent.coordinator.features.log import store
from agent.coordinator.features.log.sequencer import LogInconsistent, leaf_bytes
from agent.coordinator.features.log.store import CheckpointRecord, LeafRecord
from agent.coordinator.operations.context import Connection
from agent.coordinator.operations.files.examination import Examine
from agent.coordinator.store import ledger, receipts
from agent.core.values.quantities import format_time, from_units
from aitbc.errors import VerificationError
from aitbc.keys import parse_vkey
from aitbc.leaves.settlement import parse_settlement
from aitbc.log import Checkpoint, open_checkpoint
from aitbc.merkle import HASH_SIZE, Frontier, leaf_hash
from aitbc.notes import find_cosignature, parse_note, parse_signatures
from aitbc.receipts import verify_receipt
from aitbc.tiles import TILE_WIDTH, Tile, grow, split_hashes

NAMED: Final = 20
"""Problems of one kind that are listed; of further ones, only the number is reported."""
UNKNOWN: Final = b"\x00" * HASH_SIZE


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem: its kind, its position, and a description."""

    kind: str
    where: str
    message: str


@dataclass(slots=True)
class Examination:
    """The numbers of checked records, `others` those of features, and the problems. `root` is the root of all numbered leaves in lower-case hex."""

    leaves: int = 0
    waiting: int = 0
    receipts: int = 0
    settlements: int = 0
    others: dict[str, int] = field(default_factory=dict)
    checkpoints: int = 0
    cosignatures: int = 0
    root: str = ""
    problems: list[Problem] = field(default_factory=list)
    _counts: Counter[str] = field(default_factory=Counter)

    def find(self, kind: str, source: str, message: str) -> None:
        """Add a problem."""
        self._counts[kind] += 1
        # One cause can damage every leaf, and nobody reads a million lines.
        if self._counts[kind] <= NAMED:
            self.problems.append(Problem(kind, source, message))

    def summarise(self) -> None:
        """Add the total number of problems of each kind that has too many to list."""
        for kind, count in self._counts.items():
            if count > NAMED:
                self.problems.append(
                    Problem(kind, "all", f"there are {count} of these; the first {NAMED} are named")
                )


def examine(
    connection: Connection, log_key: str, checkpoints: Mapping[str, Checkpoint], examiners: Iterable[Examine]
) -> Examination:
    """Examine everything. `log_key` is the log's vkey; `checkpoints` are those checkpoints that are stored elsewhere, by name."""
    result = examine_log(connection, log_key, checkpoints)
    _examine_receipts(connection, log_key, result)
    _examine_settlements(connection, result)
    result.others = dict(examine(connection, parse_vkey(log_key)[0], result.find) for examine in examiners)
    for problem in ledger.problems(connection):
        result.find("ledger", "ledger", problem)
    result.summarise()
    return result


def examine_log(connection: Connection, log_key: str, checkpoints: Mapping[str, Checkpoint]) -> Examination:
    """Do the part of `examine` that derives the leaves, the tree and its root, and compares them with what was signed."""
    result = Examination()
    promises = _promises(connection, log_key, checkpoints, result)
    _Tree(connection, result, promises).examine()
    _examine_cosignatures(connection, result)
    return result


def _promises(
    connection: Connection, log_key: str, checkpoints: Mapping[str, Checkpoint], result: Examination
) -> list[tuple[str, Checkpoint]]:
    """Return every checkpoint that the log must be consistent with, with its source, smallest first."""
    origin = parse_vkey(log_key)[0]
    promises = []
    for record in store.all_checkpoints(connection):
        result.checkpoints += 1
        source = f"checkpoint of {record.size} leaves"
        checkpoint = Checkpoint(origin, record.size, record.root)
        try:
            if open_checkpoint(record.note, log_key) != checkpoint:
                result.find("checkpoint", source, "the signed note differs from the row")
        except VerificationError as error:
            result.find("checkpoint", source, str(error))
        promises.append((source, checkpoint))
    promises += [(name, checkpoint) for name, checkpoint in checkpoints.items()]
    # By size, so that one pass over the leaves checks them all.
    return sorted(promises, key=lambda item: item[1].size)


class _Tree:
    """Walks all leaves once, from the left, and compares them with tiles and checkpoints."""

    def __init__(
        self, connection: Connection, result: Examination, promises: list[tuple[str, Checkpoint]]
    ) -> None:
        self._connection = connection
        self._result = result
        self._promises = promises
        self._derived = Frontier()
        self._stored = Frontier()
        self._tiles: dict[tuple[int, int], bytes] = {}
        self._differing: list[tuple[int, str, str]] = []
        self._why = ""

    def examine(self) -> None:
        """Add the problems of leaves, tiles and checkpoints."""
        result = self._result
        self._keep_promises()
        while page := store.leaves(self._connection, result.leaves, TILE_WIDTH):
            self._page(page)
            if len(page) < TILE_WIDTH:
                break
        self._examine_tiles()
        for source, checkpoint in self._promises:
            result.find(
                "truncated",
                source,
                f"it is signed for {checkpoint.size} leaves, but the log has only {result.leaves}",
            )
        leaf_count = store.count_leaves(self._connection)
        if leaf_count > result.leaves:
            result.find(
                "leaf",
                f"leaf {result.leaves}",
                f"it is missing, but there are {leaf_count - result.leaves} with higher numbers",
            )
        newest = store.newest_checkpoint(self._connection)
        if result.leaves > (newest.size if newest else 0):
            result.find(
                "checkpoint",
                "newest checkpoint",
                f"it is signed for fewer leaves than the {result.leaves} that have numbers",
            )
        self._report_differing(newest)
        result.root = self._stored.root().hex()
        for leaf in store.queued(self._connection):
            result.waiting += 1
            if leaf.content is not None and leaf_hash(leaf.content.encode()) != leaf.leaf_hash:
                result.find(
                    "leaf", leaf.reference, "its content does not match its hash; it has no number yet"
                )

    def _page(self, page: list[LeafRecord]) -> None:
        """Check one tile's leaves, up to the first gap."""
        first = self._result.leaves
        content = store.tile(self._connection, 0, first // TILE_WIDTH) or b""
        tile_hashes = split_hashes(content)
        stored = []
        for leaf, number in zip(page, range(first, first + len(page)), strict=True):
            # A gap: from here on, no leaf has the number that was signed.
            if leaf.index != number:
                break
            # Tiles and receipts are both examined: which of them was changed is seen from the signed root.
            in_tile = tile_hashes[number - first] if number - first < len(tile_hashes) else UNKNOWN
            derived = self._derive(leaf)
            if derived != in_tile:
                self._differing.append((number, leaf.reference, "" if derived else self._why))
            stored.append(in_tile)
            self._derived.extend([derived or in_tile])
            self._stored.extend([in_tile])
            self._result.leaves += 1
            self._keep_promises()
        if len(tile_hashes) > len(stored):
            source = Tile(0, first // TILE_WIDTH, len(tile_hashes)).path
            self._result.find(
                "truncated",
                source,
                f"it has the hashes of {len(tile_hashes)} leaves, but the log has only {len(stored)} of them",
            )
        changed = grow(lambda tile: self._tiles[tile.level or 0, tile.index], first, stored)
        self._tiles.update({(tile.level or 0, tile.index): hashes for tile, hashes in changed.items()})

    def _derive(self, leaf: LeafRecord) -> bytes | None:
        self._why = ""
        try:
            return leaf_hash(leaf_bytes(leaf))
        except LogInconsistent as error:
            self._why = str(error)
            return None

    def _keep_promises(self) -> None:
        """Compare the checkpoints of this size. Whether the derived or the stored tree is wrong is decided later."""
        while self._promises and self._promises[0][1].size == self._derived.size:
            source, checkpoint = self._promises.pop(0)
            # If one of both trees has the signed root, the other one is damaged, which is reported for its leaves.
            if checkpoint.root not in (self._derived.root(), self._stored.root()):
                message = f"its root is not that of the first {checkpoint.size} leaves: the log was forked or rewritten"
                self._result.find("forked", source, message)

    def _examine_tiles(self) -> None:
        for level, index, hashes in store.all_tiles(self._connection):
            expected = self._tiles.pop((level, index), None)
            if level and expected != hashes:
                path = Tile(level, index, min(len(hashes) // HASH_SIZE, TILE_WIDTH)).path
                self._result.find("tile", path, "it does not follow from the leaves' hashes")
            elif expected is None:
                self._result.find("truncated", Tile(level, index).path, "its leaves are missing")
        for level, index in sorted(self._tiles):
            self._result.find("tile", Tile(level, index).path, "it is missing")

    def _report_differing(self, newest: CheckpointRecord | None) -> None:
        """Report leaves whose hash in the tile differs. The newest checkpoint shows which of the two was changed."""
        # The derived tree is the signed one, so the tiles were damaged and not the receipts.
        damaged = newest is not None and newest.root == self._derived.root()
        for number, reference, why in self._differing:
            if why:
                self._result.find("leaf", f"leaf {number}", why)
            elif damaged:
                self._result.find(
                    "tile", f"leaf {number}", f"its hash in the tile is not that of {reference}"
                )
            else:
                self._result.find(
                    "leaf",
                    f"leaf {number}",
                    f"{reference} was changed: its hash is not the one that was signed",
                )


def _examine_cosignatures(connection: Connection, result: Examination) -> None:
    for cosignature in store.all_cosignatures(connection):
        result.cosignatures += 1
        source = f"cosignature of {cosignature.size} leaves by {cosignature.witness.partition('+')[0]}"
        record = store.checkpoint_of(connection, cosignature.size)
        try:
            note = parse_note(record.note if record else "").with_signatures(
                *parse_signatures(cosignature.line)
            )
            cosigned = find_cosignature(note, cosignature.witness)
        except VerificationError as error:
            result.find("cosignature", source, str(error))
            continue
        if cosigned is None or cosigned[1] != cosignature.timestamp:
            result.find("cosignature", source, "the line has another witness or time than the row")


def _examine_receipts(connection: Connection, log_key: str, result: Examination) -> None:
    for record, results, deleted in receipts.all_with_results(connection):
        result.receipts += 1
        for fault in _receipt_faults(record, results, log_key):
            result.find("receipt", record.receipt_id, fault)
        # The receipt remains after the deletion of a job's data, and nothing else.
        if (results is None) != deleted:
            fault = (
                "its job has no results"
                if results is None
                else "the data of its job was deleted, but not the results"
            )
            result.find("receipt", record.receipt_id, fault)
    for receipt_id in store.receipts_without_leaf(connection):
        result.find("unlogged", receipt_id, "the receipt has no leaf in the log")
    for job_id in receipts.completed_without_receipt(connection):
        result.find("receipt", job_id, "the job is completed, but has no receipt")


def _receipt_faults(record: receipts.ReceiptRecord, results: str | None, log_key: str) -> Iterator[str]:
    try:
        receipt = json.loads(record.receipt)
        outcome = verify_receipt(
            receipt, log_key=log_key, results=None if results is None else json.loads(results)
        )
    except ValueError as error:
        yield f"it is not JSON: {error}"
        return
    yield from outcome.failures
    if outcome.statement is not None and record.job_id != outcome.statement.job_id:
        yield f"it is stored for {record.job_id}, but names {outcome.statement.job_id}"


def _examine_settlements(connection: Connection, result: Examination) -> None:
    for transaction, leaf in store.closed_payments(connection):
        if leaf is None:
            result.find("unlogged", transaction.tx_id, "the settlement has no leaf in the log")
            continue
        result.settlements += 1
        try:
            logged = parse_settlement(leaf.encode())
        except VerificationError as error:
            result.find("settlement", transaction.tx_id, f"its leaf is malformed: {error}")
            continue
        # The ledger can be changed by everybody who has the database; the log cannot without being noticed.
        expected = {
            "job_id": (logged.job_id, transaction.job_id),
            "miner_id": (logged.miner_id, transaction.miner_id),
            "held": (logged.held, from_units(transaction.held)),
            "paid": (logged.paid, from_units(transaction.paid)),
            "fee": (logged.fee, from_units(transaction.fee)),
            "settled_at": (logged.settled_at, format_time(transaction.settled_at or 0)),
        }
        differing = [name for name, (logged_value, stored) in expected.items() if logged_value != stored]
        if differing:
            result.find(
                "settlement", transaction.tx_id, f"the log and the ledger differ in {', '.join(differing)}"
            )
    for reference in store.settlements_without_payment(connection):
        result.find("settlement", reference, "the log has a settlement that the ledger lacks")
