"""Both SDKs accept the same bytes, and refuse the same bytes for the same reason: the vectors of tests/vectors.

The SDK for JavaScript runs the same files in sdk/js/tests.
"""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from aitbc import verify_bundle, verify_receipt
from aitbc.canonical import b64decode, b64encode, canonical_json, parse_json, sha256_hex
from aitbc.errors import FormatError, VerificationError
from aitbc.leaves.payouts import open_payout_address, verify_payout
from aitbc.leaves.settlement import parse_settlement
from aitbc.log import open_checkpoint, parse_proof, receipt_leaf
from aitbc.merkle import verify_consistency, verify_inclusion
from aitbc.notes import find_cosignature, parse_note
from aitbc.receipts import Verification, check_words, conclusions, other_network
from aitbc.statement import job_price, money, parse_decimal, parse_statement

ROOT = Path(__file__).parents[3]


def read(name: str) -> Any:
    return json.loads((ROOT / "tests" / "vectors" / f"{name}.json").read_text())


def refused(call, *arguments) -> bool:
    try:
        call(*arguments)
    except VerificationError:
        return True
    return False


def test_committed_vectors_match_the_code() -> None:
    """The script produces the committed files, so a change of the format is visible."""
    command = [sys.executable, "scripts/vectors/make_vectors.py", "--check"]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert (outcome.returncode, outcome.stdout) == (0, ""), outcome.stderr


def test_canonical_json_has_one_form() -> None:
    vectors = read("canonical")
    for item in vectors["good"]:
        assert canonical_json(parse_json(item["text"])).decode() == item["canonical"]
        assert canonical_json(parse_json(item["canonical"])).decode() == item["canonical"]
    assert [
        text for text in vectors["bad"] if not refused(lambda text: canonical_json(parse_json(text)), text)
    ] == []
    assert [text for text in vectors["bad_base64"] if not refused(b64decode, text)] == []


def test_prices_round_up_and_amounts_have_one_form() -> None:
    vectors = read("money")
    for item in vectors["prices"]:
        units, unit_price, most = (Decimal(item[name]) for name in ("units", "unit_price", "max_cost"))
        assert money(job_price(units, unit_price, most)) == item["price"]
    assert all(money(parse_decimal(text, "It")) == text for text in vectors["good"])
    assert [text for text in vectors["bad"] if not refused(parse_decimal, text, "It")] == []


def test_only_canonical_settlements_are_accepted() -> None:
    for item in read("settlements"):
        assert refused(parse_settlement, item["leaf"].encode()) is not item["valid"], item["leaf"]


def test_payouts() -> None:
    vectors = read("payouts")
    for item in vectors["proofs"]:
        checks = verify_payout(item["proof"], vectors["log_key"]).checks
        assert sorted({check.name for check in checks if not check.ok}) == item["failing"], item["proof"]
    for item in vectors["addresses"]:
        key = b64decode(item["public_key"])
        assert refused(open_payout_address, item["envelope"], key) is not item["valid"], item["envelope"]


def test_the_guide_shows_a_valid_proof_of_a_payment() -> None:
    page = (ROOT / "docs" / "how-to" / "payouts.md").read_text()
    example = json.loads(page.split("```json\n")[1].split("```")[0])
    vectors = read("payouts")
    assert example == vectors["proofs"][0]["proof"]
    assert verify_payout(example, vectors["log_key"]).valid


def test_proofs() -> None:
    vectors = read("proofs")
    for item in vectors["inclusion"]:
        path = [bytes.fromhex(node) for node in item["hashes"]]
        leaf, root = bytes.fromhex(item["leaf_hash"]), bytes.fromhex(item["root"])
        assert verify_inclusion(leaf, item["index"], item["size"], path, root) is item["valid"]
    for item in vectors["consistency"]:
        path = [bytes.fromhex(node) for node in item["hashes"]]
        old, new = bytes.fromhex(item["old_root"]), bytes.fromhex(item["new_root"])
        assert verify_consistency(item["old_size"], old, item["new_size"], new, path) is item["valid"]


def test_long_entries_are_replaced_by_their_digest() -> None:
    for item in read("proofs")["long_entries"]:
        leaf = receipt_leaf(
            {
                "payloadType": "application/vnd.in-toto+json",
                "payload": b64encode(b"x" * item["payload_bytes"]),
                "signatures": [{"keyid": "", "sig": b64encode(bytes(64))}],
            }
        )
        assert (len(leaf), sha256_hex(leaf)) == (item["leaf_bytes"], item["leaf_sha256"])


def test_notes_and_cosignatures() -> None:
    vectors = read("notes")
    for item in vectors["notes"]:
        note = item.pop("note")
        if "error" in item:
            with pytest.raises(VerificationError) as raised:
                open_checkpoint(note, vectors["log_key"])
            assert type(raised.value).__name__ == item["error"], note
            continue
        checkpoint = open_checkpoint(note, vectors["log_key"])
        assert item == {
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "root": b64encode(checkpoint.root),
            "cosigned_at": cosigned_at(note, vectors["witness_key"]),
        }
    assert parse_proof(vectors["proof"]).index == 3
    assert [proof for proof in vectors["bad_proofs"] if not refused(parse_proof, proof)] == []


def cosigned_at(note: str, witness: str) -> int | str | None:
    try:
        found = find_cosignature(parse_note(note), witness)
    except VerificationError:
        return "error"
    return None if found is None else found[1]


@pytest.fixture(scope="module")
def receipts() -> Any:
    return read("receipts")


def test_bundle_is_valid_only_under_its_own_log_key(receipts) -> None:
    assert verify_bundle(parse_json(receipts["text"]), receipts["log_key"]).valid
    failures = verify_bundle(receipts["bundle"], receipts["other_log_key"]).failures
    assert list(failures) == receipts["failures_under_other_log"]


def concluded(outcome: Verification) -> list[dict[str, str]]:
    """Return the conclusions as the vectors have them, without the checks."""
    return [
        {"question": each.question, "verdict": each.verdict, "sentence": each.sentence}
        for each in conclusions(outcome)
    ]


def test_four_sentences_say_what_a_receipt_proves(receipts) -> None:
    outcome = verify_bundle(receipts["bundle"], receipts["log_key"])
    assert concluded(outcome) == receipts["conclusions"]
    assert {each.verdict for each in conclusions(outcome)} == {"proven"}
    assert sum(len(each.checks) for each in conclusions(outcome)) == len(outcome.checks)
    assert [check_words(check) for check in outcome.checks] == receipts["words"]
    alone = verify_receipt(receipts["bundle"]["receipt"], log_key=receipts["log_key"])
    assert concluded(alone) == receipts["conclusions_without_proof"]
    assert [each.verdict for each in conclusions(alone)] == ["proven", "unchecked", "proven", "unchecked"]


def test_receipt_of_another_network_is_named_so(receipts) -> None:
    outcome = verify_bundle(receipts["bundle"], receipts["other_log_key"])
    assert outcome.statement is not None
    assert other_network(outcome) == outcome.statement.origin
    assert concluded(outcome) == receipts["conclusions_under_other_log"]
    assert {each.verdict for each in conclusions(outcome)} == {"unchecked"}
    for case in receipts["cases"]:
        changed = verify_bundle(case["bundle"], receipts["log_key"])
        # No change of a receipt may pass as proven, and only another origin as another network's.
        verdicts = {each.verdict for each in conclusions(changed)}
        assert "failed" in verdicts or (other_network(changed) and verdicts == {"unchecked"}), case["name"]


def test_times_within_the_allowed_skew_are_valid(receipts) -> None:
    assert receipts["right_times"]
    for name, bundle in receipts["right_times"].items():
        assert verify_bundle(bundle, receipts["log_key"]).failures == (), name


def test_statement_without_a_sandbox_is_valid(receipts) -> None:
    assert verify_bundle(receipts["bundle_without_sandbox"], receipts["log_key"]).valid
    payloads = [
        b64decode(receipts[name]["receipt"]["envelope"]["payload"])
        for name in ("bundle", "bundle_without_sandbox")
    ]
    assert [parse_statement(payload).sandbox for payload in payloads] == ["bubblewrap", None]


def test_statement_may_contain_the_digest_of_evidence(receipts) -> None:
    assert verify_bundle(receipts["bundle_with_evidence"], receipts["log_key"]).valid
    payloads = [
        b64decode(receipts[name]["receipt"]["envelope"]["payload"])
        for name in ("bundle", "bundle_with_evidence")
    ]
    assert [parse_statement(payload).evidence_sha256 for payload in payloads] == [None, "5" * 64]


def test_changed_bundles_report_the_failed_checks(receipts) -> None:
    for case in receipts["cases"]:
        outcome = verify_bundle(case["bundle"], receipts["log_key"])
        assert not outcome.valid
        assert list(outcome.failures) == case["failures"], case["name"]
        assert concluded(outcome) == case["conclusions"], case["name"]
        assert outcome.miner_signature_valid is case["miner_signature_valid"]
        assert outcome.coordinator_attestations == case["coordinator_attestations"]
        receipt = case["bundle"].get("receipt") if isinstance(case["bundle"], dict) else None
        failures = verify_receipt(receipt, log_key=receipts["log_key"]).failures
        assert list(failures) == case["receipt_failures"], case["name"]


def test_bundle_changed_in_one_byte_is_refused_for_the_expected_reason(receipts) -> None:
    data, step = receipts["text"].encode(), receipts["bytes"]["step"]
    for number, names in enumerate(receipts["bytes"]["failures"]):
        position = number * step
        changed = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        if names is None:
            with pytest.raises(FormatError):
                parse_json(changed)
            continue
        outcome = verify_bundle(parse_json(changed), receipts["log_key"])
        assert [check.name for check in outcome.checks if not check.ok] == names, position


@pytest.mark.parametrize("service", ["video_transcoding", "ai_inference", "blender_rendering"])
def test_receipt_of_version_0_1_0_is_valid(service: str) -> None:
    vectors = read("receipts_0_1_0")
    outcome = verify_bundle(vectors["bundles"][service], vectors["log_key"])
    assert (outcome.valid, outcome.failures) == (True, ())
    payload = b64decode(vectors["bundles"][service]["receipt"]["envelope"]["payload"])
    assert parse_statement(payload).service == service
