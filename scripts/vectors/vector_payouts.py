"""Vectors of payouts: proofs of payments with every check that fails, manifests, and addresses that miners sign."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from decimal import Decimal
from typing import Any, Final

from nacl.signing import SigningKey

from aitbc.canonical import b64encode, canonical_json
from aitbc.dsse import sign_envelope
from aitbc.errors import VerificationError
from aitbc.keys import miner_id
from aitbc.leaves.payouts import (
    ADDRESS_TYPE,
    Manifest,
    Payment,
    PaymentTree,
    PayoutAddress,
    PayoutProof,
    converted,
    open_payout_address,
    verify_payout,
)
from vector_log import ORIGIN, signed_log

MINER_SEED: Final = hashlib.sha256(b"the vectors' paid miner").digest()
RATE: Final = Decimal("0.9137")
AMOUNTS: Final = ("12.5", "3", "1.00000001", "250.123", "7.77")


def payouts() -> dict[str, Any]:
    """Return a log's key, proofs that verify and proofs that fail with the checks that do, and addresses."""
    payments = tuple(_payment(position, amount) for position, amount in enumerate(AMOUNTS))
    tree = PaymentTree([payment.to_leaf() for payment in payments])
    manifest = Manifest(
        batch_id="batch_01hzx", origin=ORIGIN, created_at="2026-11-24T15:00:00.000Z", approved_at="2026-11-24T16:00:00.000Z",
        cut_off="2026-11-24T00:00:00.000Z", adapter="file", currency="EUR", decimals=2, rate=RATE, count=len(payments),
        amount=sum((payment.amount for payment in payments), Decimal()),
        sent_amount=sum((payment.sent_amount for payment in payments), Decimal()), root=tree.root,
    )  # fmt: skip
    single = dataclasses.replace(payments[0], batch_id="batch_01hzy", payout_id="payout_01hzy9")
    alone = dataclasses.replace(
        manifest, batch_id="batch_01hzy", count=1, amount=single.amount, sent_amount=single.sent_amount,
        root=PaymentTree([single.to_leaf()]).root,
    )  # fmt: skip
    foreign = dataclasses.replace(manifest, origin="other.test/log")
    leaves = [b"other", manifest.to_leaf(), alone.to_leaf(), foreign.to_leaf(), b"more"]
    log_key, _, proofs = signed_log(leaves)
    good = [
        PayoutProof(payment, index, tree.proof(index), leaves[1], proofs[1]).to_json()
        for index, payment in enumerate(payments)
    ]
    good.append(PayoutProof(single, 0, (), leaves[2], proofs[2]).to_json())
    bad = [*_changed(good[1]), {**good[1], "manifest": leaves[3].decode(), "proof": proofs[3]}]
    cases = [{"proof": proof, "failing": _failing(proof, log_key)} for proof in (*good, *bad)]
    if any(case["failing"] for case in cases[: len(good)]) or not all(
        case["failing"] for case in cases[len(good) :]
    ):
        raise ValueError("a proof has another outcome than intended")
    return {"log_key": log_key, "proofs": cases, "addresses": _addresses()}


def _payment(position: int, amount: str) -> Payment:
    key = hashlib.sha256(b"the vectors' miner %d" % position).digest()
    return Payment(
        batch_id="batch_01hzx", payout_id=f"payout_01hzx{position}", miner_id=miner_id(bytes(SigningKey(key).verify_key)),
        adapter="file", address=f"DE0250010517{position:010d}", currency="EUR", amount=Decimal(amount),
        sent_amount=converted(Decimal(amount), RATE, 2), salt=hashlib.sha256(b"salt %d" % position).hexdigest()[:32],
    )  # fmt: skip


def _changed(proof: dict[str, Any]) -> list[Any]:
    """Return copies of a proof with one change each."""
    payment, manifest = proof["payment"], json.loads(proof["manifest"])
    changes: list[dict[str, Any]] = [
        {"payout_id": "payout_01hzx4"}, {"amount": "3.5"}, {"amount": "3.0"}, {"amount": "-3"}, {"sent_amount": "2.75"}, {"sent_amount": 2.74}, {"address": "DE0250010517000000000a"},
        {"address": ""}, {"salt": "0" * 32}, {"salt": ""}, {"currency": "USD"}, {"adapter": "http"}, {"batch_id": "batch_01hzy"}, {"miner_id": "miner_a"}, {"more": 1}, {"_type": "x"},
    ]  # fmt: skip
    result: list[Any] = [{**proof, "payment": {**payment, **change}} for change in changes]
    of_manifest: list[dict[str, Any]] = [
        {"rate": "1"}, {"rate": "0"}, {"rate": "0.91370"}, {"decimals": 3}, {"decimals": -1}, {"count": 4}, {"count": 0}, {"root": "0" * 64}, {"root": manifest["root"].upper()},
        {"rounding": "up"}, {"cut_off": "2026-11-24"}, {"_type": "https://aitbc.bubuit.net/payout/v2"}, {"more": 1},
    ]  # fmt: skip
    result += [
        {**proof, "manifest": canonical_json({**manifest, **change}).decode()} for change in of_manifest
    ]
    hashes = proof["hashes"]
    result += [
        {**proof, "index": 0}, {**proof, "index": -1}, {**proof, "index": "1"}, {**proof, "index": 5}, {**proof, "hashes": hashes[:-1]}, {**proof, "hashes": [*hashes, hashes[0]]},
        {**proof, "hashes": hashes[::-1]}, {**proof, "hashes": [hashes[0][:-4], *hashes[1:]]}, {**proof, "proof": proof["proof"].replace("index 1", "index 2")}, {**proof, "proof": ""},
        {**proof, "more": 1}, {**proof, "_type": "x"}, {**proof, "manifest": json.dumps(manifest)}, {name: value for name, value in proof.items() if name != "index"}, None, [],
    ]  # fmt: skip
    return result


def _failing(proof: Any, log_key: str) -> list[str]:
    return sorted({check.name for check in verify_payout(proof, log_key).checks if not check.ok})


def _addresses() -> list[dict[str, Any]]:
    key = SigningKey(MINER_SEED)
    public_key = bytes(key.verify_key)
    statement = PayoutAddress(
        miner_id(public_key), "file", "Ada, DE02 5001 0517 0000 0000 00", "EUR", 1_795_532_400_000, "2026-11-24T15:00:00.000Z", ORIGIN
    )  # fmt: skip
    payload = {name: getattr(statement, name) for name in PayoutAddress.__dataclass_fields__}
    envelopes = [statement.sign(key), statement.sign(SigningKey(hashlib.sha256(b"another").digest()))]
    changes: list[dict[str, Any]] = [
        {"miner_id": "miner_" + "a" * 26}, {"sequence": 0}, {"sequence": "1"}, {"sequence": 1.5}, {"address": ""}, {"address": "a\nb"}, {"adapter": "File"}, {"currency": "€"},
        {"created_at": "yesterday"}, {"origin": ""}, {"more": 1},
    ]  # fmt: skip
    envelopes += [
        sign_envelope(ADDRESS_TYPE, canonical_json({**payload, **change}), key) for change in changes
    ]
    envelopes += [
        sign_envelope("application/vnd.aitbc.registration+json", canonical_json(payload), key),
        sign_envelope(ADDRESS_TYPE, json.dumps(payload).encode(), key),
    ]
    cases = [
        {
            "envelope": envelope,
            "public_key": b64encode(public_key),
            "valid": _is_valid(envelope, public_key),
        }
        for envelope in envelopes
    ]
    if [case["valid"] for case in cases] != [True] + [False] * (len(cases) - 1):
        raise ValueError("an address has another outcome than intended")
    return cases


def _is_valid(envelope: Any, public_key: bytes) -> bool:
    try:
        open_payout_address(envelope, public_key)
    except VerificationError:
        return False
    return True
