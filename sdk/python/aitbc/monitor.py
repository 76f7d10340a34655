"""Verifies a whole log: its leaves match the signed checkpoint, and it extends the checkpoints that are known from before.

A log can cheat in three ways. It can change a leaf; then the leaf does not have its hash in the tiles. It can show different leaves
to different clients (a fork); then the newest checkpoint does not extend a known one. It can remove leaves (truncation); then the
newest checkpoint is smaller than a known one. The report names each of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from aitbc._verification.log_sources import LogAddress, LogDirectory, LogSource
from aitbc._verification.report import Check, VerificationReport
from aitbc.canonical import b64decode, parse_json
from aitbc.errors import FormatError, VerificationError
from aitbc.leaves.payouts import MANIFEST_TYPE, parse_manifest
from aitbc.leaves.settlement import SETTLEMENT_TYPE, parse_settlement
from aitbc.leaves.verdict import VERDICT_TYPE, parse_verdict
from aitbc.log import Checkpoint
from aitbc.merkle import consistency_proof, fold, leaf_hash, root_hash, verify_consistency
from aitbc.notes import Note, parse_note
from aitbc.policy import Policy
from aitbc.statement import PAYLOAD_TYPE, parse_statement
from aitbc.tiles import TILE_WIDTH, Tile, TiledTree, decode_entries, split_hashes, tile_width, tiles_of

__all__ = ["LogAddress", "LogDirectory", "LogReport", "LogSource", "verify_log"]

_MOST_NAMED = 20
"""Most changed leaves that the report names one by one. Beyond that it has only their number."""


@dataclass(slots=True)
class LogReport:
    """The result of verifying a log. `checkpoint` and its `note` are set if a trusted log signed the checkpoint."""

    checks: list[Check] = field(default_factory=list)
    checkpoint: Checkpoint | None = None
    note: Note | None = None
    receipts: int = 0
    settlements: int = 0
    payouts: int = 0
    verdicts: int = 0
    others: int = 0

    @property
    def valid(self) -> bool:
        """Whether every check passed."""
        return self.checkpoint is not None and all(check.ok for check in self.checks)

    @property
    def failures(self) -> tuple[str, ...]:
        """One line for each failed check."""
        return tuple(f"{check.name}: {check.message}" for check in self.checks if not check.ok)


def verify_log(
    source: LogSource,
    policy: Policy,
    *,
    known: Mapping[str, Checkpoint] | None = None,
    first: int = 0,
) -> LogReport:
    """Verify the log in `source` against the policy, starting with leaf `first`.

    `known` maps names to checkpoints that were seen before. Returns a report, also for an invalid log. Raises `OSError` and
    `TransportError` if the log cannot be read.
    """
    report, outcome = VerificationReport(), LogReport()
    # A server could show each check another content, so each file is read once.
    source = _CachedSource(source)
    outcome.checks = report.checks
    content = source.read("checkpoint")
    # Without a signed checkpoint there is nothing to compare the log with.
    note = report.attempt("checkpoint", lambda: _note(content))
    checkpoint = None if note is None else report.attempt("checkpoint", lambda: policy.open(note))
    if note is None or checkpoint is None:
        return outcome
    outcome.note, outcome.checkpoint = note, checkpoint
    report.passed("checkpoint", f"signed by {checkpoint.origin} for {checkpoint.size} leaves")
    report.expect_witnesses(policy, note)
    if report.attempt("tree", lambda: _require_tree(source, checkpoint)) is not None:
        report.passed("tree", "the tiles match the root of the checkpoint")
        _Leaves(source, checkpoint.size, report, outcome).verify(first)
    for name, seen_checkpoint in (known or {}).items():
        _compare(report, source, checkpoint, name, seen_checkpoint)
    return outcome


class _CachedSource:
    """A caching source, so that all checks see the same content.

    It stores the tiles above level 0 and the right edge, 1/256 of the log. Full tiles and bundles of level 0 are read only once anyway.
    """

    def __init__(self, source: LogSource) -> None:
        self._source = source
        self._stored: dict[str, bytes | None] = {}

    def read(self, path: str) -> bytes | None:
        # These are almost the whole log, which may not fit into memory.
        if path.startswith("tile/entries/") or (path.startswith("tile/0/") and ".p/" not in path):
            return self._source.read(path)
        if path not in self._stored:
            self._stored[path] = self._source.read(path)
        return self._stored[path]


def _note(content: bytes | None) -> Note:
    if content is None:
        raise VerificationError(
            "There is no checkpoint here. A coordinator's log is at the coordinator's address with /v1/log."
        )
    return parse_note(content)


def _tile(source: LogSource, tile: Tile) -> bytes:
    """Read a tile or bundle. If a partial one was replaced by the full one meanwhile, read the full one."""
    content = source.read(tile.path)
    if content is None and tile.width < TILE_WIDTH:
        # The log may grow while it is read, and drops partial tiles then.
        content = source.read(Tile(tile.level, tile.index).path)
    if content is None:
        raise VerificationError(f"The log lacks {tile.path}.")
    return content


def _tree(source: LogSource, size: int) -> TiledTree:
    return TiledTree(lambda tile: _tile(source, tile), size)


def _require_tree(source: LogSource, checkpoint: Checkpoint) -> bool:
    if root_hash(_tree(source, checkpoint.size), checkpoint.size) != checkpoint.root:
        raise VerificationError("The tiles do not have the root of the checkpoint.")
    return True


def _compare(
    report: VerificationReport, source: LogSource, newest: Checkpoint, name: str, seen_checkpoint: Checkpoint
) -> None:
    """Check that the log extends a known checkpoint."""
    if seen_checkpoint.origin != newest.origin:
        report.failed(name, f"is of the log {seen_checkpoint.origin}, not of {newest.origin}")
    elif seen_checkpoint.size > newest.size:
        report.failed(
            name,
            f"the log was truncated: it had {seen_checkpoint.size} leaves, and signs for {newest.size} now",
        )
    else:
        # The proof is computed here from the tiles, so no server is asked for one that suits it.
        extended = report.attempt(name, lambda: _extends(source, newest, seen_checkpoint))
        if extended is not None:
            report.expect(
                name,
                extended,
                f"the log extends its {seen_checkpoint.size} leaves",
                f"the log was forked: its first {seen_checkpoint.size} leaves are not those that it signed before",
            )


def _extends(source: LogSource, newest: Checkpoint, seen_checkpoint: Checkpoint) -> bool:
    hashes = consistency_proof(_tree(source, newest.size), seen_checkpoint.size, newest.size)
    return verify_consistency(seen_checkpoint.size, seen_checkpoint.root, newest.size, newest.root, hashes)


class _Leaves:
    """Compares all leaves and tiles with each other, from left to right."""

    def __init__(self, source: LogSource, size: int, report: VerificationReport, outcome: LogReport) -> None:
        self._source = source
        self._size = size
        self._report = report
        self._outcome = outcome
        self._prices: dict[str, Decimal] = {}
        self._paid: dict[str, Decimal] = {}
        self._changed = 0

    def verify(self, first: int) -> None:
        """Add the checks for the leaves from `first`, and for all tiles above them."""
        folds = []
        for bundle in tiles_of(self._size, None):
            # Only whole bundles can be skipped, since the tile above has one hash for each.
            if (bundle.index + 1) * TILE_WIDTH <= first and bundle.width == TILE_WIDTH:
                continue
            if (hashes := self._report.attempt("leaves", lambda: self._bundle(bundle))) is None:  # noqa: B023 - called at once
                return
            folds.append(hashes)
        # A log that was exchanged altogether would fill the screen.
        if self._changed > _MOST_NAMED:
            self._report.failed("leaves", f"{self._changed} leaves were changed in all")
        if not self._changed:
            good = f"{self._size - first} leaves match the hashes in the tiles"
            self._report.passed("leaves", good)
        # Proofs are made from the upper tiles, so these must follow from the leaves that anybody can read.
        start = first // TILE_WIDTH
        if self._report.attempt("tiles", lambda: self._upper_tiles(start, folds)) is not None:
            self._report.passed("tiles", "every tile matches the tiles below it")
        outcome = self._outcome
        counted = (
            f"{outcome.receipts} receipts, {outcome.settlements} settlements, {outcome.payouts} payouts, {outcome.verdicts} verdicts, "
            f"{outcome.others} others"
        )
        self._report.passed("content", counted)

    def _bundle(self, bundle: Tile) -> bytes:
        """Check one bundle against its tile. Returns the hash over the tile, or b"" if it is not full."""
        entries = decode_entries(_tile(self._source, bundle))[: bundle.width]
        if len(entries) != bundle.width:
            raise VerificationError(f"{bundle.path} has {len(entries)} entries.")
        hashes = split_hashes(_tile(self._source, Tile(0, bundle.index, bundle.width)))[: bundle.width]
        if len(hashes) != bundle.width:
            raise VerificationError(f"{Tile(0, bundle.index, bundle.width).path} has {len(hashes)} hashes.")
        for index, (entry, expected_hash) in enumerate(
            zip(entries, hashes, strict=True), bundle.index * TILE_WIDTH
        ):
            if leaf_hash(entry) != expected_hash:
                self._changed += 1
                if self._changed <= _MOST_NAMED:
                    self._report.failed(f"leaf {index}", "was changed: it does not have its hash in the tile")
                # What the leaf says is not the log's, so it is not counted.
                continue
            self._content(index, entry)
        return fold(hashes) if bundle.width == TILE_WIDTH else b""

    def _upper_tiles(self, start: int, folds: Sequence[bytes]) -> bool:
        """Check every tile above level 0 against the hashes over the tiles below it, starting with tile `start` of level 0."""
        level, below = 1, [item for item in folds if item]
        while tile_width(self._size, level, 0):
            above = []
            for index in range(start // TILE_WIDTH, -(-(start + len(below)) // TILE_WIDTH)):
                tile = Tile(level, index, tile_width(self._size, level, index))
                hashes = split_hashes(_tile(self._source, tile))[: tile.width]
                begin = max(start, index * TILE_WIDTH)
                expected = below[begin - start : (index + 1) * TILE_WIDTH - start]
                if hashes[begin - index * TILE_WIDTH :] != expected:
                    raise VerificationError(f"{tile.path} does not follow from the tiles below it.")
                if tile.width == TILE_WIDTH:
                    above.append(fold(hashes))
            start, below, level = start // TILE_WIDTH, above, level + 1
        return True

    def _content(self, index: int, entry: bytes) -> None:
        """Count a leaf, and check that a settlement pays the price in its job's receipt."""
        try:
            fields = parse_json(entry)
            if isinstance(fields, dict) and fields.get("_type") == SETTLEMENT_TYPE:
                settlement = parse_settlement(entry)
                self._outcome.settlements += 1
                if settlement.receipt_id is not None:
                    self._match(index, settlement.job_id, self._paid, settlement.paid, self._prices)
            elif isinstance(fields, dict) and fields.get("_type") == MANIFEST_TYPE:
                parse_manifest(entry)
                self._outcome.payouts += 1
            elif isinstance(fields, dict) and fields.get("_type") == VERDICT_TYPE:
                parse_verdict(entry)
                self._outcome.verdicts += 1
            elif isinstance(fields, dict) and fields.get("payloadType") == PAYLOAD_TYPE:
                self._outcome.receipts += 1
                # A receipt that is too large for a leaf has only the digest of its statement there.
                if "payload" in fields:
                    statement = parse_statement(b64decode(fields["payload"]))
                    self._match(index, statement.job_id, self._prices, statement.price, self._paid)
            else:
                self._outcome.others += 1
        except FormatError as error:
            self._report.failed(f"leaf {index}", f"is malformed: {str(error).rstrip('.')}")

    def _match(
        self, index: int, job_id: str, mine: dict[str, Decimal], amount: Decimal, charges: dict[str, Decimal]
    ) -> None:
        # Receipt and settlement come in any order; the first waits for the other, and a pair is forgotten.
        charge = charges.pop(job_id, None)
        if charge is None:
            mine[job_id] = amount
        elif charge != amount:
            self._report.failed(
                f"leaf {index}", f"{job_id} was settled for another price than its receipt says"
            )
