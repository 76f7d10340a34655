"""Checkpoints of an append-only log, and proofs that it includes a leaf. Verification needs only the log's public key.

Sources: https://c2sp.org/tlog-checkpoint and https://c2sp.org/tlog-proof.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aitbc.canonical import b64decode, b64encode, canonical_json, sha256_hex
from aitbc.errors import FormatError, VerificationError
from aitbc.keys import parse_vkey
from aitbc.merkle import HASH_SIZE, leaf_hash, verify_inclusion
from aitbc.notes import Note, parse_note, require_signature, utf8
from aitbc.tiles import MAX_ENTRY

PROOF_HEADER = "c2sp.org/tlog-proof@v1"
_MAX_PROOF_HASHES = 63
_MAX_INDEX = 2**63 - 1
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_BODY_LINES = 3


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's state: `size` leaves under the Merkle root `root` (32 bytes)."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The text of the signed note."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root)}\n"


@dataclass(frozen=True, slots=True)
class Proof:
    """A parsed proof, NOT verified: the number of a leaf (`index`), and its path to the root in `note`."""

    index: int
    hashes: tuple[bytes, ...]
    note: Note

    def __str__(self) -> str:
        lines = [PROOF_HEADER, f"index {self.index}", *map(b64encode, self.hashes)]
        return "\n".join(lines) + f"\n\n{self.note}"


def receipt_leaf(envelope: Mapping[str, Any]) -> bytes:
    """Return the leaf of a receipt: the canonical JSON of the miner's envelope.

    An entry of a log has at most 65,535 bytes. For a larger envelope (thousands of output files), the leaf has `payloadSHA256`, the
    lower-case hex digest of the payload's bytes, instead of the payload.
    """
    # The envelope alone: it is the word of the miner, which the coordinator cannot make up.
    leaf = canonical_json(dict(envelope))
    if len(leaf) <= MAX_ENTRY:
        return leaf
    public = {name: value for name, value in envelope.items() if name != "payload"}
    return canonical_json({**public, "payloadSHA256": sha256_hex(b64decode(envelope["payload"]))})


def parse_checkpoint(text: str) -> Checkpoint:
    """Parse the checkpoint in a note's text, NOT verified. Raises `FormatError`."""
    lines = text.removesuffix("\n").split("\n")
    # Further lines are extensions, which the format allows and this program does not need.
    if len(lines) < _BODY_LINES or not all(lines):
        raise FormatError("The checkpoint lacks its origin, size or root.")
    origin, size, root = lines[:_BODY_LINES]
    return Checkpoint(origin, _number(size, "The checkpoint's size"), _hash(root, "The checkpoint's root"))


def open_checkpoint(checkpoint: str | bytes | Note, log_key: str) -> Checkpoint:
    """Return the checkpoint if `log_key` (a vkey) signed it. Raises `FormatError` or `VerificationError`."""
    note = checkpoint if isinstance(checkpoint, Note) else parse_note(checkpoint)
    require_signature(note, log_key)
    opened = parse_checkpoint(note.text)
    # A key that serves two logs must not let one vouch for the other.
    if opened.origin != parse_vkey(log_key)[0]:
        raise VerificationError("The checkpoint is another log's.")
    return opened


def parse_proof(proof: str | bytes) -> Proof:
    """Parse a `tlog-proof@v1`, NOT verified. Raises `FormatError`."""
    head, separator, note = utf8(proof).partition("\n\n")
    lines = head.split("\n")
    if not separator or lines.pop(0) != PROOF_HEADER:
        raise FormatError(f"The proof does not begin with {PROOF_HEADER}.")
    # Optional data of the format. It must be well-formed, but nothing here depends on it.
    if lines and lines[0].startswith("extra "):
        b64decode(lines.pop(0).removeprefix("extra "))
    if not lines or not lines[0].startswith("index "):
        raise FormatError("The proof lacks its index.")
    index = _number(lines.pop(0).removeprefix("index "), "The proof's index")
    # One hash for each level: no tree has more, so a longer proof only costs time.
    if len(lines) > _MAX_PROOF_HASHES:
        raise FormatError("The proof has too many hashes.")
    return Proof(index, tuple(_hash(line, "A hash of the proof") for line in lines), parse_note(note))


def require_inclusion(leaf: bytes, proof: Proof, checkpoint: Checkpoint) -> None:
    """Verify that `proof` leads from `leaf` to the root of `checkpoint`. Raises `VerificationError`."""
    hashes: Sequence[bytes] = proof.hashes
    if not verify_inclusion(leaf_hash(leaf), proof.index, checkpoint.size, hashes, checkpoint.root):
        raise VerificationError("The proof does not lead from the leaf to the checkpoint's root.")


def verify_proof(leaf: bytes, proof: str | bytes, log_key: str) -> tuple[int, Checkpoint]:
    """Verify a `tlog-proof@v1` that the log of `log_key` (a vkey) includes `leaf`.

    Returns the leaf's index and the checkpoint. Raises `FormatError` or `VerificationError`.
    """
    parsed = parse_proof(proof)
    checkpoint = open_checkpoint(parsed.note, log_key)
    require_inclusion(leaf, parsed, checkpoint)
    return parsed.index, checkpoint


def _number(value: str, subject: str) -> int:
    if _NUMBER.fullmatch(value) is None or int(value) > _MAX_INDEX:
        raise FormatError(f"{subject} is not a number.")
    return int(value)


def _hash(value: str, subject: str) -> bytes:
    data = b64decode(value)
    if len(data) != HASH_SIZE:
        raise FormatError(f"{subject} does not have 32 bytes.")
    return data
