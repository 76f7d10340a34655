"""Proofs that a leaf stands in an append-only log, checked against nothing but the log's public key.

Sources: RFC 6962 section 2.1 (hashing), https://c2sp.org/signed-note, https://c2sp.org/tlog-checkpoint and
https://c2sp.org/tlog-proof.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aitbc.canonical import b64decode, canonical_json
from aitbc.dsse import SIGNATURE_SIZE, verify_bytes
from aitbc.errors import FormatError, VerificationError
from aitbc.keys import key_id, parse_vkey

PROOF_HEADER = "c2sp.org/tlog-proof@v1"
_HASH_SIZE = 32
_KEY_ID_SIZE = 4
_MAX_PROOF_HASHES = 63
_MAX_SIGNATURES = 100
_MAX_INDEX = 2**63 - 1
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
_SIGNATURE_LINE = re.compile(r"\u2014 ([^\s+]+) (\S+)")
_BODY_LINES = 3


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's signed state: `size` leaves under the Merkle root `root` (32 bytes)."""

    origin: str
    size: int
    root: bytes


def receipt_leaf(envelope: Mapping[str, Any]) -> bytes:
    """The leaf of a receipt: the canonical JSON of the miner's envelope."""
    return canonical_json(dict(envelope))


def leaf_hash(leaf: bytes) -> bytes:
    """SHA-256(0x00 || leaf)."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def verify_inclusion(leaf: bytes, index: int, size: int, hashes: Sequence[bytes], root: bytes) -> bool:
    """Whether the leaf with hash `leaf` is number `index` (from 0) of the tree of `size` leaves under `root`.

    The algorithm of RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < size:
        return False
    node, last, result = index, size - 1, leaf
    for sibling in hashes:
        if last == 0:
            return False
        if node & 1 or node == last:
            result = node_hash(sibling, result)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and result == root


def open_note(note: str | bytes, log_key: str) -> str:
    """The text of a signed note that carries a valid signature of `log_key` (a vkey).

    Raises `FormatError` for a malformed note, `VerificationError` when the log's signature is missing or wrong.
    Signatures of other keys must be well-formed and are not looked at further.
    """
    origin, public_key = parse_vkey(log_key)
    content = _utf8(note)
    body, separator, rest = content.rpartition("\n\n")
    if not separator or not body or not rest.endswith("\n") or _CONTROL.search(content):
        raise FormatError("This is not a signed note.")
    message = body + "\n"
    lines = rest[:-1].split("\n")
    if len(lines) > _MAX_SIGNATURES:
        raise FormatError("The signed note has too many signatures.")
    signatures = [_signature(line) for line in lines]
    own = [sig for name, key, sig in signatures if name == origin and key == key_id(origin, public_key)]
    if not own:
        raise VerificationError("The note is not signed by the given log key.")
    if not all(verify_bytes(message.encode(), sig, public_key) for sig in own):
        raise VerificationError("The note's signature does not verify under the given log key.")
    return message


def _signature(line: str) -> tuple[str, bytes, bytes]:
    match = _SIGNATURE_LINE.fullmatch(line)
    if match is None:
        raise FormatError("The signed note has a malformed signature line.")
    data = b64decode(match[2])
    if len(data) <= _KEY_ID_SIZE:
        raise FormatError("The signed note has a signature that is too short.")
    return match[1], data[:_KEY_ID_SIZE], data[_KEY_ID_SIZE:][: SIGNATURE_SIZE + 1]


def open_checkpoint(checkpoint: str | bytes, log_key: str) -> Checkpoint:
    """A checkpoint that `log_key` (a vkey) signed. Raises `FormatError` or `VerificationError`."""
    lines = open_note(checkpoint, log_key).removesuffix("\n").split("\n")
    if len(lines) < _BODY_LINES or not all(lines):
        raise FormatError("The checkpoint lacks its origin, size or root.")
    origin, size, root = lines[:_BODY_LINES]
    if origin != parse_vkey(log_key)[0]:
        raise VerificationError("The checkpoint is another log's.")
    return Checkpoint(origin, _number(size, "The checkpoint's size"), _hash(root, "The checkpoint's root"))


def verify_proof(leaf: bytes, proof: str | bytes, log_key: str) -> tuple[int, Checkpoint]:
    """Check a `tlog-proof@v1` that `leaf` stands in the log of `log_key` (a vkey).

    Returns the leaf's index and the checkpoint. Raises `FormatError` or `VerificationError`.
    """
    head, separator, note = _utf8(proof).partition("\n\n")
    lines = head.split("\n")
    if not separator or lines.pop(0) != PROOF_HEADER:
        raise FormatError(f"The proof does not begin with {PROOF_HEADER}.")
    if lines and lines[0].startswith("extra "):
        b64decode(lines.pop(0).removeprefix("extra "))
    if not lines or not lines[0].startswith("index "):
        raise FormatError("The proof lacks its index.")
    index = _number(lines.pop(0).removeprefix("index "), "The proof's index")
    if len(lines) > _MAX_PROOF_HASHES:
        raise FormatError("The proof has too many hashes.")
    hashes = [_hash(line, "A hash of the proof") for line in lines]
    checkpoint = open_checkpoint(note, log_key)
    if not verify_inclusion(leaf_hash(leaf), index, checkpoint.size, hashes, checkpoint.root):
        raise VerificationError("The proof does not lead from the leaf to the checkpoint's root.")
    return index, checkpoint


def _utf8(value: str | bytes) -> str:
    try:
        content = value.decode("utf-8") if isinstance(value, bytes) else value
        content.encode("utf-8")
    except UnicodeError as error:
        raise FormatError("The text is not UTF-8.") from error
    return content


def _number(value: str, where: str) -> int:
    if _NUMBER.fullmatch(value) is None or int(value) > _MAX_INDEX:
        raise FormatError(f"{where} is not a number.")
    return int(value)


def _hash(value: str, where: str) -> bytes:
    data = b64decode(value)
    if len(data) != _HASH_SIZE:
        raise FormatError(f"{where} does not have 32 bytes.")
    return data
