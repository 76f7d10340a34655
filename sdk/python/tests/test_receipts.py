"""A receipt is valid if and only if every field is signed or follows from signed data."""

from __future__ import annotations

import copy
import dataclasses
import json
from decimal import Decimal

import pytest
from nacl.signing import SigningKey

from aitbc.canonical import canonical_json, parse_json, sha256_hex
from aitbc.errors import FormatError, VerificationError
from aitbc.keys import format_vkey
from aitbc.receipts import verify_bundle, verify_receipt
from aitbc.statement import NamedDigest

from .conftest import ORIGIN, VIDEO, every_byte_changed


def test_built_receipt_is_valid(signed, tmp_path) -> None:
    film = tmp_path / "video.mp4"
    film.write_bytes(VIDEO)
    for artifact in (film, VIDEO, sha256_hex(VIDEO), f"sha256:{sha256_hex(VIDEO)}"):
        outcome = verify_receipt(
            signed.receipt, log_key=signed.log_key, results=signed.results, artifacts={"video.mp4": artifact}
        )
        assert outcome.failures == ()
        assert (outcome.valid, outcome.miner_signature_valid, outcome.coordinator_attestations) == (
            True,
            True,
            2,
        )
        assert outcome.statement == signed.statement


def test_receipt_changed_in_any_one_byte_is_refused(signed) -> None:
    text = canonical_json(signed.receipt)
    accepted = []
    for changed in every_byte_changed(text):
        try:
            receipt = parse_json(changed)
        except FormatError:
            continue
        if verify_receipt(receipt, log_key=signed.log_key).valid:
            accepted.append(changed)
    assert accepted == []


def test_results_changed_in_any_one_byte_are_refused(signed) -> None:
    text = canonical_json(signed.results)
    accepted = []
    for changed in every_byte_changed(text):
        try:
            results = parse_json(changed)
        except FormatError:
            continue
        if verify_receipt(signed.receipt, log_key=signed.log_key, results=results).valid:
            accepted.append(changed)
    assert accepted == []


def test_another_log_key_is_refused(signed) -> None:
    other = format_vkey(ORIGIN, bytes(SigningKey(b"o" * 32).verify_key))
    outcome = verify_receipt(signed.receipt, log_key=other)
    assert (outcome.valid, outcome.miner_signature_valid, outcome.coordinator_attestations) == (
        False,
        True,
        0,
    )


def test_another_origin_is_refused(signed, signing_log_key) -> None:
    other = format_vkey("elsewhere.test/log", bytes(signing_log_key.verify_key))
    outcome = verify_receipt(signed.receipt, log_key=other)
    assert outcome.failures == (
        f"origin: the statement is for the log {ORIGIN}, not for elsewhere.test/log.",
    )


def test_malformed_log_key_is_raised(signed) -> None:
    with pytest.raises(FormatError):
        verify_receipt(signed.receipt, log_key="nonsense")


@pytest.mark.parametrize("receipt", [None, 1, "x", [], {}, {"envelope": {}}])
def test_a_value_that_is_not_a_receipt_is_reported_not_raised(signed, receipt) -> None:
    outcome = verify_receipt(receipt, log_key=signed.log_key)
    assert not outcome.valid
    assert outcome.failures


FIELDS = [
    ("receipt_id",), ("job_id",), ("miner_id",), ("created_at",), ("signature",), ("signature", "sig"),
    ("signature", "public_key"), ("attestations",), ("attestations", 0), ("attestations", 1), ("envelope",),
    ("envelope", "payload"), ("envelope", "payloadType"), ("envelope", "signatures"),
    ("envelope", "signatures", 0), ("envelope", "signatures", 0, "sig"), ("envelope", "signatures", 0, "keyid"),
    *(
        ("attestations", number, name)
        for number in (0, 1)
        for name in ("type", "timestamp", "statement_sha256", "job_id", "miner_id", "fence", "signature")
    ),
]  # fmt: skip


@pytest.mark.parametrize("junk", [None, 7, "", "x", "é\ud800", [], {}, [[]], True, 1.5])
@pytest.mark.parametrize("path", FIELDS)
def test_junk_in_any_field_is_reported_not_raised(signed, path, junk) -> None:
    receipt = copy.deepcopy(signed.receipt)
    target = receipt
    for key in path[:-1]:
        target = target[key]
    if target[path[-1]] == junk:
        return
    target[path[-1]] = junk
    assert not verify_receipt(receipt, log_key=signed.log_key).valid


def test_attestations_in_the_other_order_are_refused(signed) -> None:
    receipt = copy.deepcopy(signed.receipt)
    receipt["attestations"].reverse()
    receipt["created_at"] = receipt["attestations"][-1]["timestamp"]
    outcome = verify_receipt(receipt, log_key=signed.log_key)
    assert "assignment: type differs from the signed statement." in outcome.failures


def test_attestations_for_another_fence_are_refused(signed, sign) -> None:
    receipt = copy.deepcopy(signed.receipt)
    other = sign(dataclasses.replace(signed.statement, fence=5))
    receipt["attestations"][0] = other["attestations"][0]
    outcome = verify_receipt(receipt, log_key=signed.log_key)
    assert outcome.coordinator_attestations == 1
    assert "assignment: statement_sha256, fence differs from the signed statement." in outcome.failures


def test_statement_of_another_miner_is_refused(signed, sign) -> None:
    stolen = dataclasses.replace(signed.statement, miner_id="miner_" + "a" * 26)
    outcome = verify_receipt(sign(stolen), log_key=signed.log_key)
    assert any("but miner_" in failure for failure in outcome.failures)


@pytest.mark.parametrize(("price", "valid"), [("0.00125", True), ("0.001", True), ("0.00125001", False)])
def test_price_is_at_most_units_times_unit_price(signed, sign, price: str, valid: bool) -> None:
    receipt = sign(dataclasses.replace(signed.statement, price=Decimal(price)))
    assert verify_receipt(receipt, log_key=signed.log_key).valid is valid


def test_failure_of_the_results_is_reported(signed) -> None:
    outcome = verify_receipt(
        signed.receipt, log_key=signed.log_key, results={**signed.results, "duration": 9}
    )
    assert outcome.failures == ("results: SHA-256 differs from the signed statement.",)
    with pytest.raises(VerificationError, match="results: SHA-256 differs"):
        outcome.raise_for_failure()


def test_units_that_differ_from_the_results_are_reported(signed, sign) -> None:
    receipt = sign(dataclasses.replace(signed.statement, units=Decimal(13)))
    outcome = verify_receipt(receipt, log_key=signed.log_key, results=signed.results)
    assert outcome.failures == ("units: differ from those in the results.",)


def test_unsigned_output_file_is_reported(signed, sign) -> None:
    subject = (signed.statement.subject[0], NamedDigest("video.mp4", "5" * 64))
    receipt = sign(dataclasses.replace(signed.statement, subject=subject))
    outcome = verify_receipt(receipt, log_key=signed.log_key, results=signed.results)
    assert outcome.failures == (
        "files: the output files of the results are not those of the signed statement.",
    )


def test_different_artifacts_are_reported(signed, tmp_path) -> None:
    outcome = verify_receipt(
        signed.receipt,
        log_key=signed.log_key,
        artifacts={
            "video.mp4": b"another film",
            "other.mp4": VIDEO,
            f"sha256:{sha256_hex(VIDEO)}": tmp_path / "none",
        },
    )
    assert outcome.failures == (
        "artifact video.mp4: SHA-256 differs from the signed statement.",
        "artifact other.mp4: the signed statement has no such output.",
        f"artifact sha256:{sha256_hex(VIDEO)}: cannot be read (No such file or directory).",
    )


def test_bundle_is_verified_from_a_file(signed) -> None:
    text = json.dumps(signed.bundle, indent=1)
    assert verify_bundle(parse_json(text), signed.log_key, {"video.mp4": VIDEO}).failures == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda bundle: bundle.update(format="https://example.org/v1"),
        lambda bundle: bundle.update(extra=1),
        lambda bundle: bundle.pop("results"),
        lambda bundle: bundle.pop("proof"),
        lambda bundle: bundle.update(proof=None),
        lambda bundle: bundle.update(proof="c2sp.org/tlog-proof@v1\nindex 0\n\n"),
        lambda bundle: bundle.update(proof=bundle["proof"].replace("index 2", "index 3")),
        lambda bundle: bundle.update(results=None),
        lambda bundle: bundle.update(results={"a": float("nan")}),
        lambda bundle: bundle["receipt"].update(note="trust me"),
    ],
)
def test_bundle_with_missing_or_additional_fields_is_refused(signed, change) -> None:
    bundle = copy.deepcopy(signed.bundle)
    change(bundle)
    assert not verify_bundle(bundle, signed.log_key).valid
