"""Cosignatures, policies and leaves."""

from __future__ import annotations

import dataclasses
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from aitbc.canonical import canonical_json, parse_json
from aitbc.errors import FormatError, VerificationError
from aitbc.keys import COSIGNATURE_TYPE, format_vkey, parse_vkey
from aitbc.leaves.settlement import Settlement, parse_settlement
from aitbc.log import open_checkpoint, receipt_leaf
from aitbc.notes import cosign, find_cosignature, parse_note
from aitbc.policy import Policy
from aitbc.receipts import verify_bundle, verify_receipt
from aitbc.tiles import MAX_ENTRY

from .conftest import ORIGIN, every_byte_changed
from .support.memory_log import MemoryLog

KEY = SigningKey(b"l" * 32)
LOG = MemoryLog(ORIGIN, KEY, [b"one", b"two", b"three"])
LOG_KEY = format_vkey(ORIGIN, bytes(KEY.verify_key))
SEEDS = {name: SigningKey(name.encode() * 16) for name in ("w1", "w2", "w3")}
WITNESSES = {
    name: format_vkey(f"{name}.test", bytes(key.verify_key), COSIGNATURE_TYPE) for name, key in SEEDS.items()
}
THREE = "".join(f"witness {name} {vkey}\n" for name, vkey in WITNESSES.items())


def cosigned(*names: str):
    return LOG.note(None, *(cosign(LOG.note(), f"{name}.test", SEEDS[name], 1_764_000_000) for name in names))


def test_cosignature_is_found_with_its_time() -> None:
    note = parse_note(str(cosigned("w1", "w2")))
    found = find_cosignature(note, WITNESSES["w1"])
    assert found is not None
    assert found[1] == 1_764_000_000
    assert find_cosignature(note, WITNESSES["w3"]) is None
    assert open_checkpoint(note, LOG_KEY) == LOG.checkpoint()


def test_cosignature_changed_in_one_byte_does_not_count() -> None:
    """It either no longer names that witness, or no longer verifies."""
    text = str(cosigned("w1")).encode()
    for changed in every_byte_changed(text):
        try:
            note = parse_note(changed)
            open_checkpoint(note, LOG_KEY)
            found = find_cosignature(note, WITNESSES["w1"])
        except VerificationError:
            continue
        assert found is None, changed


def test_cosignature_of_another_checkpoint_is_refused() -> None:
    other = cosign(LOG.note(2), "w1.test", SEEDS["w1"], 1_764_000_000)
    with pytest.raises(VerificationError, match=r"w1\.test does not verify"):
        find_cosignature(LOG.note(None, other), WITNESSES["w1"])


def test_the_newest_of_two_cosignatures_is_used() -> None:
    older, newer = (cosign(LOG.note(), "w1.test", SEEDS["w1"], moment) for moment in (10, 20))
    for lines in ((newer, older), (older, newer)):
        assert find_cosignature(LOG.note(None, *lines), WITNESSES["w1"]) == (newer, 20)


def test_keys_of_logs_and_witnesses_are_distinguished() -> None:
    with pytest.raises(FormatError, match="not the key of a log: it cosigns"):
        parse_vkey(WITNESSES["w1"])
    with pytest.raises(FormatError, match="not the key of a witness: it signs notes"):
        parse_vkey(LOG_KEY, COSIGNATURE_TYPE)


@pytest.mark.parametrize(
    ("rule", "signed", "met"),
    [
        ("quorum none", "", True),
        ("quorum w1", "w1", True),
        ("quorum w1", "w2 w3", False),
        ("group g any w1 w2 w3\nquorum g", "w3", True),
        ("group g 2 w1 w2 w3\nquorum g", "w3", False),
        ("group g 2 w1 w2 w3\nquorum g", "w3 w1", True),
        ("group g all w1 w2 w3\nquorum g", "w1 w2", False),
        ("group g all w1 w2 w3\nquorum g", "w1 w2 w3", True),
        ("group a any w1 w2\ngroup b all a w3\nquorum b", "w2 w3", True),
        ("group a any w1 w2\ngroup b all a w3\nquorum b", "w1 w2", False),
    ],
)
def test_quorums(rule: str, signed: str, met: bool) -> None:
    policy = Policy.parse(f"# trusted\n\n log\t{LOG_KEY}  https://log.test/\n{THREE}{rule}\n")
    note = cosigned(*signed.split())
    assert policy.open(note) == LOG.checkpoint()
    assert policy.is_met_by(policy.cosigned_by(note)) is met


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "names no log"),
        (f"log {LOG_KEY}\n", "no quorum line"),
        (f"log {LOG_KEY}\nquorum w1\n", "Line 2 of the policy: w1 was not defined"),
        (f"log {LOG_KEY}\nlog {LOG_KEY}\nquorum none\n", "Line 2 .* is named twice"),
        (f"{THREE}witness w4 {WITNESSES['w1']}\n", "the key is named twice"),
        (f"{THREE}witness w1 {LOG_KEY}\n", "the name w1 is taken"),
        (f"log {WITNESSES['w1']}\n", "not the key of a log"),
        (f"witness w1 {LOG_KEY}\n", "not the key of a witness"),
        (f"{THREE}group g 4 w1 w2 w3\n", "threshold is `all`, `any`, or from 1 to 3"),
        (f"{THREE}group g 0 w1\n", "threshold"),
        (f"{THREE}group g any w1 w1\n", "is already a member"),
        (f"{THREE}group g any w1\ngroup h any w1\n", "is already a member"),
        (f"{THREE}group none any w1\n", "the name none is taken"),
        (f"{THREE}group g any\n", "it is not one of"),
        ("quorum none\nquorum none\n", "there is already a quorum"),
        ("trust everybody\n", "it is not one of"),
        ("log x\r\n", "control character"),
    ],
)
def test_errors_in_a_policy_are_reported(text: str, expected: str) -> None:
    with pytest.raises(FormatError, match=expected):
        Policy.parse(text)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_valid_policy_or_refused(content: bytes) -> None:
    with pytest.raises(FormatError):
        Policy.parse(content)


def test_a_policy_of_several_logs_uses_the_one_that_signed(signed) -> None:
    other = format_vkey("other.test", bytes(SigningKey(b"o" * 32).verify_key))
    both = Policy.parse(f"log {other}\nlog {signed.log_key}\nquorum none\n")
    assert verify_bundle(signed.bundle, both).failures == ()
    two = (
        Policy.parse(f"log {other}\nlog {other.replace('other', 'third').split('+')[0]}+x+y\nquorum none\n")
        if False
        else None
    )
    assert two is None
    outcome = verify_bundle(signed.bundle, Policy.of_log(other))
    assert f"origin: the statement is for the log {ORIGIN}, not for other.test." in outcome.failures


def test_a_bundle_needs_the_witnesses_that_the_policy_requires(signed, signing_log_key) -> None:
    policy = Policy.parse(f"log {signed.log_key}\n{THREE}group g 2 w1 w2 w3\nquorum g\n")
    assert verify_bundle(signed.bundle, policy).failures == (
        "witnesses: cosigned by none, but the policy asks for g.",
    )
    leaves = [receipt_leaf(signed.receipt["envelope"])]
    log = MemoryLog(ORIGIN, signing_log_key, leaves)
    lines = [cosign(log.note(), f"{name}.test", SEEDS[name], 1) for name in ("w1", "w3")]
    outcome = verify_bundle({**signed.bundle, "proof": log.proof(0, *lines)}, policy)
    assert outcome.failures == ()
    assert "cosigned by w1, w3; the policy asks for g" in [check.message for check in outcome.checks]
    stolen = {**signed.bundle, "proof": log.proof(0, lines[0], dataclasses.replace(lines[1], name="w2.test"))}
    assert not verify_bundle(stolen, policy).valid
    assert verify_receipt(signed.receipt, log_key=policy).failures == (
        "witnesses: the policy asks for witnesses, which only a proof can show.",
    )


def test_a_proof_of_another_receipt_is_refused(signed, sign) -> None:
    other = sign(dataclasses.replace(signed.statement, fence=5))
    outcome = verify_bundle({**signed.bundle, "receipt": other}, signed.log_key)
    assert outcome.failures == ("inclusion: The proof does not lead from the leaf to the checkpoint's root.",)


def test_a_large_envelope_is_logged_by_its_digest(signed) -> None:
    """A statement about thousands of files is longer than the limit of a log's entry."""
    envelope = {**signed.receipt["envelope"], "payload": "QUJD" * 20_000}
    leaf = receipt_leaf(envelope)
    assert len(leaf) < MAX_ENTRY
    fields = parse_json(leaf)
    assert set(fields) == {"payloadSHA256", "payloadType", "signatures"}
    assert receipt_leaf({**envelope, "payload": "QUJE" + "QUJD" * 19_999}) != leaf
    assert receipt_leaf(signed.receipt["envelope"]) == canonical_json(signed.receipt["envelope"])


SETTLEMENT = Settlement(
    job_id="job_1",
    receipt_id="receipt_1",
    miner_id="miner_" + "a" * 26,
    outcome="completed",
    held=Decimal(1),
    paid=Decimal("0.75"),
    fee=Decimal("0.0075"),
    refunded=Decimal("0.25"),
    settled_at="2026-11-24T15:00:04Z",
)


def test_settlement_survives_a_round_trip() -> None:
    assert parse_settlement(SETTLEMENT.to_leaf()) == SETTLEMENT
    assert SETTLEMENT.to_leaf() == canonical_json(parse_json(SETTLEMENT.to_leaf()))
    assert parse_json(SETTLEMENT.to_leaf())["transaction_id"] == "tx_1"


@pytest.mark.parametrize(
    "change",
    [
        {"paid": Decimal("0.76")}, {"refunded": Decimal("0.2")}, {"fee": Decimal("0.76")}, {"fee": Decimal(-1)},
        {"held": Decimal(-1)}, {"receipt_id": None}, {"receipt_id": "receipt_2"}, {"outcome": "failed"},
        {"outcome": "running"}, {"miner_id": None}, {"miner_id": "miner_1"}, {"settled_at": "yesterday"}, {"job_id": "1"},
        {"paid": Decimal(0), "refunded": Decimal(1), "fee": Decimal(0)},
    ],
)  # fmt: skip
def test_inconsistent_settlement_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        dataclasses.replace(SETTLEMENT, **change)


def test_settlement_in_another_form_is_refused() -> None:
    leaf = SETTLEMENT.to_leaf()
    for changed in (
        leaf + b" ",
        leaf.replace(b"0.75", b"0.750"),
        leaf.replace(b'"tx_1"', b'"tx_2"'),
        b"[]",
        b"{",
    ):
        with pytest.raises(FormatError):
            parse_settlement(changed)
