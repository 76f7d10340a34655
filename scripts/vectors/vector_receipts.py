"""Vectors of receipts: a valid bundle, and the failed checks after a change of any part."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from nacl.signing import SigningKey

import vector_log
from aitbc.canonical import b64encode, canonical_json, parse_json, sha256_hex
from aitbc.dsse import sign_envelope
from aitbc.errors import FormatError
from aitbc.keys import format_vkey, miner_id
from aitbc.log import receipt_leaf
from aitbc.receipts import (
    Verification,
    build_bundle,
    build_receipt,
    check_words,
    conclusions,
    verify_bundle,
    verify_receipt,
)
from aitbc.statement import PAYLOAD_TYPE, NamedDigest, Statement, job_price

MINER_SEED: Final = hashlib.sha256(b"the vectors' miner").digest()
OTHER_SEED: Final = hashlib.sha256(b"somebody else").digest()
FILM: Final = b"a short film"
RESULTS: Final = {
    "file": {
        "artifact_id": f"sha256:{sha256_hex(FILM)}", "url": f"/v1/artifacts/sha256:{sha256_hex(FILM)}", "media_type": "video/mp4", "size": len(FILM),
        "name": "vidéo \U0001f3ac.mp4",
    },
    "duration": 2.5, "codec": "h264", "units": 12.5, "processing_time": 0.75, "tiny": 1e-7, "large": 1e21,
}  # fmt: skip
STEP: Final = 11
"""Only every eleventh byte of the bundle is changed, because testing all of them in two languages takes too long."""

WRONG_TIMES: Final = {
    "a start before the assignment": {"started_at": "2026-11-24T14:54:59.999Z"},
    "a start in 2020": {"started_at": "2020-01-01T00:00:00Z"},
    "an end before the start": {"started_at": "2026-11-24T15:00:01Z", "finished_at": "2026-11-24T15:00:00.999Z"},
    "an end after the completion": {"finished_at": "2026-11-24T15:05:04.001Z"},
    "a run in 2099": {"started_at": "2099-01-01T00:00:00Z", "finished_at": "2099-01-01T00:00:03Z"},
}  # fmt: skip
"""Times more than five minutes before the assignment at 15:00:00 or after the completion at 15:00:04, or in the wrong order."""
RIGHT_TIMES: Final = {
    "as early as a slow clock may say": {"started_at": "2026-11-24T14:55:00Z", "finished_at": "2026-11-24T14:55:00Z"},
    "as late as a fast clock may say": {"started_at": "2026-11-24T15:05:04Z", "finished_at": "2026-11-24T15:05:04.000999Z"},
}  # fmt: skip

Json = dict[str, Any]
Change = Callable[[Json], None]


def statement(results: Json) -> Statement:
    """Return the statement that the miner signs."""
    units, unit_price = Decimal(str(results["units"])), Decimal("0.0001")
    key = SigningKey(MINER_SEED)
    return Statement(
        subject=(
            NamedDigest("result.json", sha256_hex(canonical_json(results))),
            NamedDigest(results["file"]["name"], sha256_hex(FILM)),
        ),
        job_id="job_01hzx", miner_id=miner_id(bytes(key.verify_key)), fence=4, origin=vector_log.ORIGIN, spec_digest="0" * 64,
        inputs=(NamedDigest("input_url", "1" * 64), NamedDigest("\uffee", "2" * 64), NamedDigest("\U00010000", "3" * 64)),
        service="video_transcoding", runner_name="ffmpeg", runner_version="0.1.0+7.1.3", model=NamedDigest("a model", "4" * 64),
        device_kind="cuda", device_name="A GPU", device_uuid="GPU-0", started_at="2026-11-24T15:00:00Z", finished_at="2026-11-24T15:00:03.250Z",
        units=units, unit="output second-megapixel", unit_price=unit_price, price=job_price(units, unit_price, Decimal(1)),
        sandbox="bubblewrap",
    )  # fmt: skip


def bundle_of(
    signed: Statement, results: Json, *, payload: bytes | None = None, seed: bytes = MINER_SEED
) -> Json:
    """Return the bundle of a statement, or of another payload."""
    miner = SigningKey(seed)
    receipt = build_receipt(
        envelope=sign_envelope(PAYLOAD_TYPE, payload or signed.to_payload(), miner),
        public_key=bytes(miner.verify_key), statement=signed, assigned_at="2026-11-24T15:00:00Z", completed_at="2026-11-24T15:00:04Z",
        signing_key=SigningKey(vector_log.LOG_SEED),
    )  # fmt: skip
    leaves = [b"one", receipt_leaf(receipt["envelope"]), b"three", b"four", b"five"]
    return build_bundle(receipt, results, vector_log.signed_log(leaves)[2][1])


def receipts() -> Json:
    """Return a valid bundle, and changed bundles with the failed checks that both SDKs must report, in order."""
    signed = statement(RESULTS)
    log_key = vector_log.signed_log([b""])[0]
    good = bundle_of(signed, RESULTS)
    other_log = format_vkey("elsewhere.test", bytes(SigningKey(OTHER_SEED).verify_key))
    cases = [
        {"name": name, **_found(changed, log_key)}
        for name, changed in {**_changed(good), **_resigned(signed)}.items()
    ]
    text = canonical_json(good).decode()
    return {
        "log_key": log_key, "other_log_key": other_log, "film_base64": b64encode(FILM), "bundle": good, "text": text,
        "right_times": {name: _right(bundle_of(_at(signed, times), RESULTS), log_key) for name, times in RIGHT_TIMES.items()},
        "bundle_without_sandbox": bundle_of(dataclasses.replace(signed, sandbox=None), RESULTS),
        "bundle_with_evidence": bundle_of(dataclasses.replace(signed, evidence_sha256="5" * 64), RESULTS),
        "failures_under_other_log": list(verify_bundle(good, other_log).failures), "cases": cases,
        "conclusions": _concluded(verify_bundle(good, log_key)), "words": [check_words(check) for check in verify_bundle(good, log_key).checks],
        "conclusions_without_proof": _concluded(verify_receipt(good["receipt"], log_key=log_key)),
        "conclusions_under_other_log": _concluded(verify_bundle(good, other_log)),
        "bytes": {"step": STEP, "failures": _bytes(text, log_key)},
    }  # fmt: skip


def _right(bundle: Json, log_key: str) -> Json:
    if not verify_bundle(bundle, log_key).valid:
        raise ValueError("a bundle with valid times is refused, but should be accepted")
    return bundle


def _concluded(outcome: Verification) -> list[Json]:
    return [
        {"question": conclusion.question, "verdict": conclusion.verdict, "sentence": conclusion.sentence}
        for conclusion in conclusions(outcome)
    ]


def _found(changed: Any, log_key: str) -> Json:
    outcome = verify_bundle(changed, log_key)
    receipt = changed.get("receipt") if isinstance(changed, dict) else None
    if outcome.valid:
        raise ValueError("a changed bundle is accepted, but should be refused")
    return {
        "bundle": changed, "miner_signature_valid": outcome.miner_signature_valid, "coordinator_attestations": outcome.coordinator_attestations,
        "conclusions": _concluded(outcome), "words": [check_words(check) for check in outcome.checks if not check.ok],
        "failures": list(outcome.failures), "receipt_failures": list(verify_receipt(receipt, log_key=log_key).failures),
    }  # fmt: skip


def _changed(good: Json) -> dict[str, Any]:
    """Return bundles with one field changed after signing."""
    other = SigningKey(OTHER_SEED)
    signature = b64encode(other.sign(b"something else").signature)

    def put(*path: Any, value: Any) -> Any:
        changed = copy.deepcopy(good)
        target = changed
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value
        return changed

    receipt, results, proof = "receipt", "results", good["proof"]
    head, _, note = proof.partition("\n\n")
    lines = head.split("\n")
    cases = {
        "another format": put("format", value="https://aitbc.bubuit.net/receipt-bundle/v1"),
        "another receipt_id": put(receipt, "receipt_id", value="receipt_01hzy"),
        "another job_id": put(receipt, "job_id", value="job_01hzy"),
        "another miner_id": put(receipt, "miner_id", value="miner_" + "a" * 26),
        "another created_at": put(receipt, "created_at", value="2026-11-24T15:00:05Z"),
        "another signature.sig": put(receipt, "signature", "sig", value=signature),
        "another signature.public_key": put(receipt, "signature", "public_key", value=b64encode(bytes(other.verify_key))),
        "a short public_key": put(receipt, "signature", "public_key", value="AAAA"),
        "another envelope signature": put(receipt, "envelope", "signatures", 0, "sig", value=signature),
        "a keyid": put(receipt, "envelope", "signatures", 0, "keyid", value="k"),
        "no signature": put(receipt, "envelope", "signatures", value=[]),
        "two signatures": put(receipt, "envelope", "signatures", value=good[receipt]["envelope"]["signatures"] * 2),
        "another payload": put(receipt, "envelope", "payload", value=b64encode(b"{}")),
        "another payloadType": put(receipt, "envelope", "payloadType", value="application/json"),
        "no attestation": put(receipt, "attestations", value=[]),
        "attestations in the other order": put(receipt, "attestations", value=good[receipt]["attestations"][::-1]),
        "attestations that are no list": put(receipt, "attestations", value={}),
        "a field too many": put(receipt, "more", value=1),
        "no receipt": put(receipt, value=None),
        "other results": put(results, "duration", value=3),
        "results with another file": put(results, "file", "name", value="other.mp4"),
        "no results": put(results, value=None),
        "a proof of another leaf": put("proof", value=proof.replace("index 1", "index 2")),
        "a proof with a hash changed": put("proof", value="\n".join([*lines[:-1], lines[-1].swapcase()]) + "\n\n" + note),
        "a proof without a hash": put("proof", value="\n".join(lines[:-1]) + "\n\n" + note),
        "a proof that is no text": put("proof", value=7),
        "a checkpoint of another size": put("proof", value=proof.replace("\n5\n", "\n6\n")),
        "a bundle that is a list": [],
        "a bundle that is nothing": None,
    }  # fmt: skip
    for number, kind in enumerate(("assignment", "completion")):
        for name, value in {
            "timestamp": "2026-11-24T15:00:09Z",
            "fence": "5",
            "signature": signature,
            "job_id": "job_01hzy",
        }.items():
            cases[f"another {name} of the {kind}"] = put(receipt, "attestations", number, name, value=value)
    return cases  # fmt: skip


def _at(signed: Statement, times: Mapping[str, str]) -> Statement:
    """Return the statement with other times."""
    return dataclasses.replace(
        signed,
        started_at=times.get("started_at", signed.started_at),
        finished_at=times.get("finished_at", signed.finished_at),
    )


def _resigned(signed: Statement) -> dict[str, Any]:
    """Return bundles whose parts are signed again, with right or wrong keys, but contradict each other."""
    payload = signed.to_payload()
    text = payload.decode()
    costly = dataclasses.replace(signed, price=Decimal("0.00125001"))
    more_units = dataclasses.replace(signed, units=Decimal(13))
    other_name = dataclasses.replace(
        signed, subject=(signed.subject[0], NamedDigest("other.mp4", sha256_hex(FILM)))
    )
    return {
        **{name: bundle_of(_at(signed, times), RESULTS) for name, times in WRONG_TIMES.items()},
        "a price above units x unit_price": bundle_of(costly, RESULTS),
        "units that are not those of the results": bundle_of(more_units, RESULTS),
        "a file that is not in the results": bundle_of(other_name, RESULTS),
        "signed by another miner": bundle_of(signed, RESULTS, seed=OTHER_SEED),
        "for another log": bundle_of(dataclasses.replace(signed, origin="elsewhere.test"), RESULTS),
        "a statement with a space": bundle_of(signed, RESULTS, payload=payload.replace(b":", b": ", 1)),
        "a statement with a key twice": bundle_of(signed, RESULTS, payload=text.replace('"unit":', '"unit":"x","unit":').encode()),
        "a statement with a number for money": bundle_of(signed, RESULTS, payload=text.replace('"price":"0.00125"', '"price":0.00125').encode()),
        "a statement with a price in another spelling": bundle_of(signed, RESULTS, payload=text.replace('"0.00125"', '"0.001250"').encode()),
        "a statement with a day that does not exist": bundle_of(signed, RESULTS, payload=text.replace("2026-11-24T15:00:00Z", "2026-11-31T15:00:00Z").encode()),
        "a statement with inputs in another order": bundle_of(signed, RESULTS, payload=text.replace('"name":"input_url"', '"name":"\U0010ffff"').encode()),
        "a statement that is not UTF-8": bundle_of(signed, RESULTS, payload=payload.replace(b"ffmpeg", b"ffmp\xffg")),
        "a statement with a sandbox that is nothing": bundle_of(signed, RESULTS, payload=payload.replace(b'"sandbox":"bubblewrap"', b'"sandbox":null')),
        "a statement with a malformed sandbox": bundle_of(signed, RESULTS, payload=payload.replace(b'"bubblewrap"', b'"Bubble wrap"')),
        "a statement of another type": bundle_of(signed, RESULTS, payload=payload.replace(b"job-receipt/v1", b"job-receipt/v2")),
    }  # fmt: skip


def _bytes(text: str, log_key: str) -> list[list[str] | None]:
    """Return for every eleventh byte of the text the checks that fail when its lowest bit is flipped (None: not JSON)."""
    data = text.encode()
    found: list[list[str] | None] = []
    for position in range(0, len(data), STEP):
        changed = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        try:
            bundle = parse_json(changed)
        except FormatError:
            found.append(None)
            continue
        outcome = verify_bundle(bundle, log_key)
        if outcome.valid:
            raise ValueError(f"a change of byte {position} is accepted, but should be refused")
        found.append([check.name for check in outcome.checks if not check.ok])
    return found
