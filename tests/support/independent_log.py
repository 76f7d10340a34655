"""Checks a log with only the package aics-tlog. Another Python runs it, since the package needs 3.12.

Reads a JSON object from standard input: `prefix` (the log's address), `vkey`, `witness` (its public key, or null), `old` (an older
checkpoint), `leaves` (base64, with the `proof` of each), `consistency` (hashes from the old to the new checkpoint, base64)
and `seed` (base64: the key of a witness that cosigns the newest checkpoint). Prints the results as JSON.
"""

from __future__ import annotations

import base64
import json
import sys

from aics_tlog import (
    HttpTileReader,
    VerifiedTileReader,
    audit_tiles,
    consistency_proof_from_tiles,
    inclusion_proof_from_tiles,
    parse_checkpoint,
    parse_note,
    parse_vkey,
    sign_cosignature,
    verify_checkpoint,
    verify_consistency,
    verify_leaf_inclusion,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def main() -> None:
    request = json.load(sys.stdin)
    log_key = parse_vkey(request["vkey"])
    witnesses = [parse_vkey(request["witness"])] if request["witness"] else []
    reader = HttpTileReader(request["prefix"], proxies={})
    note = parse_note(reader.read_checkpoint())
    verified = verify_checkpoint(
        note, log_key, witnesses, quorum=len(witnesses), expected_origin=log_key.name
    )
    newest = parse_checkpoint(note.text)
    old_note = parse_note(request["old"])
    old = parse_checkpoint(old_note.text)
    audit = audit_tiles(reader, newest.size, newest.root)
    tiles = VerifiedTileReader(reader, newest.size, newest.root)
    consistency = consistency_proof_from_tiles(tiles, old.size, newest.size)
    _, line = sign_cosignature(
        Ed25519PrivateKey.from_private_bytes(base64.b64decode(request["seed"])),
        request["witness_name"], 1_764_000_001, newest.origin, newest.size, newest.root,
    )  # fmt: skip
    json.dump(
        {
            "checkpoint": verified.ok,
            "error": verified.error,
            "old checkpoint": verify_checkpoint(old_note, log_key).ok,
            "size": newest.size,
            "audited": [audit.size, audit.tiles, audit.bundles],
            "leaves": [_checked(item, tiles, newest, log_key) for item in request["leaves"]],
            "consistent": verify_consistency(old.size, newest.size, old.root, newest.root, consistency),
            "consistency": [base64.b64encode(item).decode() for item in consistency],
            "cosigned": type(note)(text=note.text, signatures=(*note.signatures, line)).serialise(),
        },
        sys.stdout,
    )


def _checked(item, tiles, newest, log_key) -> dict[str, object]:
    """Return whether our proof is valid, whether it equals the one from the tiles, and whether the tiles have the leaf."""
    leaf = base64.b64decode(item["leaf"])
    head, _, text = item["proof"].partition("\n\n")
    header, index_line, *lines = head.split("\n")
    index = int(index_line.removeprefix("index "))
    hashes = [base64.b64decode(line) for line in lines]
    note = parse_note(text)
    checkpoint = parse_checkpoint(note.text)
    return {
        "header": header,
        "signed": verify_checkpoint(note, log_key).ok,
        "included": verify_leaf_inclusion(leaf, index, checkpoint.size, hashes, checkpoint.root),
        "same": hashes == inclusion_proof_from_tiles(tiles, index, newest.size),
        "entry": tiles.entry(index) == leaf,
    }


main()
