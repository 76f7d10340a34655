"""Vectors of the log: inclusion and consistency proofs, signed notes with cosignatures, settlements and long entries."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final

from nacl.signing import SigningKey

from aitbc.canonical import b64encode, sha256_hex
from aitbc.errors import VerificationError
from aitbc.keys import COSIGNATURE_TYPE, format_vkey
from aitbc.leaves.settlement import Settlement, parse_settlement
from aitbc.log import Checkpoint, Proof, open_checkpoint, parse_proof, receipt_leaf
from aitbc.merkle import (
    consistency_proof,
    fold,
    inclusion_proof,
    leaf_hash,
    root_hash,
    verify_consistency,
    verify_inclusion,
)
from aitbc.notes import cosign, find_cosignature, parse_note, sign_note

ORIGIN: Final = "vectors.test/log"
LOG_SEED: Final = hashlib.sha256(b"the vectors' log").digest()
WITNESS_SEED: Final = hashlib.sha256(b"the vectors' witness").digest()
WITNESS: Final = "witness.test/w1"
SIZES: Final = (1, 2, 3, 4, 5, 7, 8, 9, 13, 16)
PAIRS: Final = ((0, 5), (1, 1), (1, 2), (3, 7), (4, 7), (6, 8), (7, 13), (8, 13), (8, 16), (13, 13))
LONG_PAYLOADS: Final = (49_000, 49_001, 60_000)
"""Bytes of payloads whose envelopes have exactly the maximum length of an entry, more, and much more."""


def nodes_of(hashes: Sequence[bytes]) -> Callable[[int, int], bytes]:
    """Return the nodes of the tree over these leaf hashes."""
    return lambda level, index: fold(hashes[index << level : (index + 1) << level])


def signed_log(leaves: Sequence[bytes]) -> tuple[str, str, list[str]]:
    """Return the vkey of a log with these leaves, its signed checkpoint, and the proof of each leaf."""
    key = SigningKey(LOG_SEED)
    nodes = nodes_of([leaf_hash(leaf) for leaf in leaves])
    checkpoint = Checkpoint(ORIGIN, len(leaves), root_hash(nodes, len(leaves)))
    note = sign_note(checkpoint.text, ORIGIN, key)
    proofs = [
        str(Proof(index, tuple(inclusion_proof(nodes, index, len(leaves))), note))
        for index in range(len(leaves))
    ]
    return format_vkey(ORIGIN, bytes(key.verify_key)), str(note), proofs


def proofs() -> dict[str, Any]:
    """Return proofs in trees of several sizes, each also with one element changed, and the leaves of long envelopes."""
    hashes = [leaf_hash(b"leaf %d" % number) for number in range(max(SIZES))]
    nodes = nodes_of(hashes)
    inclusion = [
        case
        for size in SIZES
        for index in sorted({0, size // 2, size - 1})
        for case in _inclusion(
            hashes[index], index, size, inclusion_proof(nodes, index, size), root_hash(nodes, size)
        )
    ]
    consistency = [
        case
        for old, new in PAIRS
        for case in _consistency(old, root_hash(nodes, old), new, root_hash(nodes, new), consistency_proof(nodes, old, new))
    ]  # fmt: skip
    return {
        "inclusion": inclusion,
        "consistency": consistency,
        "long_entries": [_long(size) for size in LONG_PAYLOADS],
    }


def _inclusion(leaf: bytes, index: int, size: int, path: list[bytes], root: bytes) -> list[dict[str, Any]]:
    cases = [
        (leaf, index, size, path, root),
        (leaf, index + 1, size, path, root),
        (leaf, index, size + 1, path, root),
        (_flipped(leaf), index, size, path, root),
        (leaf, index, size, path, _flipped(root)),
        (leaf, index, size, [*path, root], root),
        *((leaf, index, size, [*path[:at], _flipped(path[at]), *path[at + 1 :]], root) for at in range(len(path))),
        *([(leaf, index, size, path[:-1], root), (leaf, index, size, path[::-1], root)] if path else []),
    ]  # fmt: skip
    return [
        {
            "leaf_hash": leaf.hex(), "index": index, "size": size, "hashes": [item.hex() for item in path],
            "root": root.hex(), "valid": verify_inclusion(leaf, index, size, path, root),
        }
        for leaf, index, size, path, root in cases
    ]  # fmt: skip


def _consistency(
    old: int, old_root: bytes, new: int, new_root: bytes, path: list[bytes]
) -> list[dict[str, Any]]:
    cases = [
        (old, old_root, new, new_root, path),
        (old + 1, old_root, new, new_root, path),
        (old, old_root, new + 1, new_root, path),
        (new, new_root, old, old_root, path),
        (old, _flipped(old_root), new, new_root, path),
        (old, old_root, new, _flipped(new_root), path),
        (old, old_root, new, new_root, [*path, new_root]),
        *((old, old_root, new, new_root, [*path[:at], _flipped(path[at]), *path[at + 1 :]]) for at in range(len(path))),
        *([(old, old_root, new, new_root, path[1:])] if path else []),
    ]  # fmt: skip
    return [
        {
            "old_size": old, "old_root": old_root.hex(), "new_size": new, "new_root": new_root.hex(),
            "hashes": [item.hex() for item in path], "valid": verify_consistency(old, old_root, new, new_root, path),
        }
        for old, old_root, new, new_root, path in cases
    ]  # fmt: skip


def _long(size: int) -> dict[str, Any]:
    """Describe an envelope over `size` bytes "x", with the digest of its leaf."""
    envelope = {
        "payloadType": "application/vnd.in-toto+json",
        "payload": b64encode(b"x" * size),
        "signatures": [{"keyid": "", "sig": b64encode(bytes(64))}],
    }
    leaf = receipt_leaf(envelope)
    return {"payload_bytes": size, "leaf_bytes": len(leaf), "leaf_sha256": sha256_hex(leaf)}


def _flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def notes() -> dict[str, Any]:
    """Return a checkpoint that a witness cosigned, its proof, and notes that are malformed or have only unknown signers."""
    vkey, checkpoint, all_proofs = signed_log([b"leaf %d" % number for number in range(5)])
    witness_key = SigningKey(WITNESS_SEED)
    note = parse_note(checkpoint)
    cosigned = str(note.with_signatures(cosign(note, WITNESS, witness_key, 1_764_000_000)))
    unknown = str(note.with_signatures(cosign(note, "other.test/w2", SigningKey(LOG_SEED), 1)))
    witness = format_vkey(WITNESS, bytes(witness_key.verify_key), COSIGNATURE_TYPE)
    return {
        "log_key": vkey,
        "witness_key": witness,
        "notes": [_note(text, vkey, witness) for text in (checkpoint, cosigned, unknown, *_broken(cosigned))],
        "proof": all_proofs[3],
        "bad_proofs": [text for text in _broken_proofs(all_proofs[3]) if _is_refused(parse_proof, text)],
    }


def _note(text: str, vkey: str, witness: str) -> dict[str, Any]:
    try:
        found = open_checkpoint(text, vkey)
    except VerificationError as error:
        return {"note": text, "error": type(error).__name__}
    answer = {"note": text, "origin": found.origin, "size": found.size, "root": b64encode(found.root)}
    try:
        cosignature = find_cosignature(parse_note(text), witness)
    except VerificationError:
        return {**answer, "cosigned_at": "error"}
    return {**answer, "cosigned_at": None if cosignature is None else cosignature[1]}


def _broken(text: str) -> list[str]:
    body, _, lines = text.partition("\n\n")
    origin, size, root = body.split("\n")
    first, second = lines.splitlines()
    signed = f"\n\n{lines}"
    return [
        "", "\n\n", text[:-1], text.replace("\n", "\r\n"), text.replace("\n\n", "\n"), body + "\n\n", f"{origin}\n{size}{signed}",
        f"{origin}\n0{size}\n{root}{signed}", f"{origin}\n-1\n{root}{signed}", f"{origin}\n{size}\n{root[:-4]}{signed}", f"other.test\n{size}\n{root}{signed}",
        f"{origin}\n{int(size) + 1}\n{root}{signed}", f"{body}\n\n{second}\n", f"{body}\n\n{first}\n{first}\n", f"{body}\n\n{first} \n", f"{body}\n\n{first.replace('—', '-')}\n",
        f"{body}\n\n{first[:-4]}\n", f"{body}\n\n{first}\n{second[:-8]}AAA=\n", f"{body}\n\n{first}\n— {WITNESS} AAAA\n", f"{body}\nmore words{signed}", f"{body}\x00{signed}",
    ]  # fmt: skip


def _broken_proofs(proof: str) -> list[str]:
    head, _, note = proof.partition("\n\n")
    header, index, *hashes = head.split("\n")
    end = f"\n\n{note}"
    return [
        "", head, note, proof.replace("@v1", "@v2"), f"{index}{end}", f"{header}{end}", "\n".join([header, *hashes]) + end, head.replace("index 3", "index 03") + end,
        head.replace("index 3", "index -3") + end, head.replace("index 3", "index 99999999999999999999") + end, f"{head}\nAAAA{end}", f"{head}\n{hashes[0][:-1]}{end}",
        "\n".join([head, *[hashes[0]] * 64]) + end, f"{head}\n\n", head.replace("\n", "\r\n") + end, f"{header}\nextra !\n{index}{end}",
    ]  # fmt: skip


def settlements() -> list[dict[str, Any]]:
    """Return leaves of settlements: valid ones, and ones with a single error."""
    paid = Settlement(
        job_id="job_01hzx", receipt_id="receipt_01hzx", miner_id="miner_" + "a" * 26, outcome="completed",
        held=Decimal(1), paid=Decimal("0.00125"), fee=Decimal("0.0001"), refunded=Decimal("0.99875"), settled_at="2026-11-24T15:00:04Z",
    )  # fmt: skip
    failed = dataclasses.replace(
        paid, outcome="failed", receipt_id=None, miner_id=None, paid=Decimal(0), fee=Decimal(0), refunded=Decimal(1)
    )  # fmt: skip
    cancelled = dataclasses.replace(paid, outcome="cancelled", receipt_id=None)
    good = [item.to_leaf().decode() for item in (paid, failed, cancelled)]
    fields = json.loads(good[0])
    changes: list[dict[str, Any]] = [
        {"held": "1.00"}, {"held": "2"}, {"paid": "0.00124"}, {"fee": "0.002"}, {"fee": "-0.1"}, {"refunded": 0.99875}, {"refunded": "0.998750"}, {"outcome": "lost"},
        {"outcome": "failed"}, {"receipt_id": None}, {"receipt_id": "receipt_01hzy"}, {"transaction_id": "tx_01hzy"}, {"miner_id": None}, {"miner_id": "miner_a"}, {"job_id": "job_"},
        {"settled_at": "2026-11-24T15:00:04"}, {"settled_at": "2026-11-31T15:00:04Z"}, {"settled_at": "2026-02-29T15:00:04Z"}, {"settled_at": "2026-11-24T24:00:04Z"},
        {"settled_at": "2026-11-24T15:60:04Z"}, {"settled_at": "2026-11-24t15:00:04z"}, {"settled_at": "0000-11-24T15:00:04Z"}, {"_type": "https://aitbc.bubuit.net/settlement/v2"}, {"more": 1},
    ]  # fmt: skip
    bad = [json.dumps({**fields, **change}, sort_keys=True, separators=(",", ":")) for change in changes]
    without = {name: value for name, value in fields.items() if name != "fee"}
    bad += [json.dumps(fields), json.dumps(without, sort_keys=True, separators=(",", ":")), good[0] + "\n", "[]", "null", good[0].replace('"fee"', '"fee":"0.0001","fee"')]  # fmt: skip
    refused = [{"leaf": leaf, "valid": not _is_refused(parse_settlement, leaf.encode())} for leaf in bad]
    if any(item["valid"] for item in refused):
        raise ValueError("an invalid leaf was accepted")
    leap = dataclasses.replace(paid, settled_at="2028-02-29T23:59:59.123456Z").to_leaf().decode()
    return [*({"leaf": leaf, "valid": True} for leaf in (*good, leap)), *refused]


def _is_refused(call: Callable[[Any], Any], value: Any) -> bool:
    try:
        call(value)
    except VerificationError:
        return True
    return False
