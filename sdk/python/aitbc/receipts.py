"""Receipts: a coordinator builds them, and anyone can verify them offline with only the log's public key.

Every field of a receipt must follow from signed data. The verification checks this, and reports the outcome for each part.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from nacl.signing import SigningKey

from aitbc._shape import exact, items, text
from aitbc._verification.conclusions import Conclusion, check_words, conclusions, other_network
from aitbc._verification.report import Check, Verification, VerificationReport
from aitbc._verification.results import Artifact, verify_artifacts, verify_results
from aitbc.attestation import KINDS, Attestation, attest, verify_attestation
from aitbc.canonical import b64decode, b64encode, sha256_hex
from aitbc.dsse import PUBLIC_KEY_SIZE, open_envelope
from aitbc.errors import FormatError
from aitbc.keys import miner_id, parse_vkey
from aitbc.log import Checkpoint, Proof, parse_proof, receipt_leaf, require_inclusion
from aitbc.policy import Policy
from aitbc.statement import (
    CLOCK_SKEW_SECONDS,
    PAYLOAD_TYPE,
    Statement,
    money,
    parse_statement,
    uncapped_price,
)

BUNDLE_FORMAT = "https://aitbc.bubuit.net/receipt-bundle/v2"

RECEIPT_FIELDS = (
    *("receipt_id", "job_id", "miner_id", "signature", "attestations", "created_at", "envelope"),
)

_BUNDLE_FIELDS = ("format", "receipt", "results", "proof")

Trust = str | Policy
"""The verifier's trust anchor: a log's public key (a vkey), or a policy with logs and witnesses."""

__all__ = [
    "CLOCK_SKEW_SECONDS",
    "Artifact",
    "Check",
    "Conclusion",
    "Trust",
    "Verification",
    "build_bundle",
    "build_receipt",
    "check_words",
    "conclusions",
    "other_network",
    "receipt_id",
    "time_errors",
    "verify_bundle",
    "verify_receipt",
]


def receipt_id(job_id: str) -> str:
    """Return the id of a job's only receipt."""
    return "receipt_" + job_id.removeprefix("job_")


def build_receipt(
    *,
    envelope: Mapping[str, Any],
    public_key: bytes,
    statement: Statement,
    assigned_at: str,
    completed_at: str,
    signing_key: SigningKey,
) -> dict[str, Any]:
    """Build the receipt of a job, with the coordinator's two attestations.

    `envelope` is verified with the miner's `public_key` and contains `statement`. `assigned_at` and `completed_at` are RFC 3339 UTC with
    `Z`. `signing_key` is the log's key.
    """
    # Of the bytes that were signed, not of the statement encoded again.
    digest = sha256_hex(b64decode(envelope["payload"]))
    attestations = [
        attest(
            kind,
            timestamp=timestamp,
            statement_sha256=digest,
            job_id=statement.job_id,
            miner_id=statement.miner_id,
            fence=statement.fence,
            signing_key=signing_key,
        )
        for kind, timestamp in zip(KINDS, (assigned_at, completed_at), strict=True)
    ]
    return {
        "receipt_id": receipt_id(statement.job_id),
        "job_id": statement.job_id,
        "miner_id": statement.miner_id,
        "signature": {"sig": envelope["signatures"][0]["sig"], "public_key": b64encode(public_key)},
        "attestations": attestations,
        "created_at": completed_at,
        "envelope": dict(envelope),
    }


def build_bundle(receipt: Mapping[str, Any], results: Any, proof: str) -> dict[str, Any]:
    """Build the content of an exported file: a receipt, the job's results, and the proof that the log includes the receipt.

    `proof` is the `tlog-proof@v1` of the receipt's leaf, which includes the signed checkpoint.
    """
    return {"format": BUNDLE_FORMAT, "receipt": dict(receipt), "results": results, "proof": proof}


def verify_bundle(
    bundle: object, log_key: Trust, artifacts: Mapping[str, Artifact] | None = None
) -> Verification:
    """Verify an exported bundle: its receipt, proof and results, and any `artifacts` (see `verify_receipt`)."""
    # Outside of the checks: a malformed key is the caller's mistake, and says nothing about the receipt.
    policy = _policy(log_key)
    report = VerificationReport()
    fields = report.attempt("bundle", lambda: exact(bundle, _BUNDLE_FIELDS, "The bundle"))
    if fields is None or not report.expect(
        "bundle",
        fields["format"] == BUNDLE_FORMAT,
        "has the exported form",
        f"its format is not {BUNDLE_FORMAT}",
    ):
        return report.verification()
    _verify(report, fields["receipt"], policy)
    _verify_proof(report, fields["receipt"], fields["proof"], policy)
    verify_results(report, fields["results"])
    verify_artifacts(report, artifacts or {})
    return report.verification()


def verify_receipt(
    receipt: object,
    *,
    log_key: Trust,
    results: Any = None,
    proof: str | None = None,
    artifacts: Mapping[str, Artifact] | None = None,
) -> Verification:
    """Verify that every field of a receipt is signed, or follows from signed data.

    `log_key` is the coordinator's vkey, or a policy. With the job's `results`, their digest, units and output files are verified too;
    with `proof` (a `tlog-proof@v1`), that the log includes the receipt under a checkpoint that the policy accepts; and with `artifacts`
    (by artifact id or file name), the digests of those files. The receipt may be any value: its errors are reported, not raised. Raises
    `FormatError` only for a malformed `log_key`.
    """
    policy = _policy(log_key)
    report = VerificationReport()
    _verify(report, receipt, policy)
    if proof is not None:
        _verify_proof(report, receipt, proof, policy)
    # Without a proof there is no checkpoint, and a policy that nobody checks must not look as if it were met.
    elif policy.quorum != "none":
        report.failed("witnesses", "the policy asks for witnesses, which only a proof can show")
    if results is not None:
        verify_results(report, results)
    verify_artifacts(report, artifacts or {})
    return report.verification()


def _policy(trust: Trust) -> Policy:
    return trust if isinstance(trust, Policy) else Policy.of_log(trust)


def _verify(report: VerificationReport, receipt: object, policy: Policy) -> None:
    fields = report.attempt("receipt", lambda: exact(receipt, RECEIPT_FIELDS, "The receipt"))
    if fields is None:
        return
    public_key = report.attempt("signature", lambda: _public_key(fields))
    if public_key is None:
        return
    payload = report.attempt(
        "miner signature", lambda: open_envelope(fields["envelope"], public_key, PAYLOAD_TYPE)
    )
    if payload is None:
        return
    identifier = miner_id(public_key)
    # The key is in the receipt itself, and names the miner: the id is its digest.
    report.passed("miner signature", f"verifies under the key of {identifier}")
    report.signed = True
    statement = report.attempt("statement", lambda: parse_statement(payload))
    if statement is None:
        return
    report.statement = statement
    # The fields outside of the envelope are not signed, and repeat what is.
    _verify_fields(report, fields, statement, identifier)
    log_key = policy.log_key(statement.origin)
    if log_key is None:
        report.failed("origin", f"the policy does not name the log {statement.origin}")
        return
    origin, log_public_key = parse_vkey(log_key)
    report.expect(
        "origin",
        statement.origin == origin,
        f"the statement is for the log {origin}",
        f"the statement is for the log {statement.origin}, not for {origin}",
    )
    attestations = _verify_attestations(report, fields, log_public_key, sha256_hex(payload), statement)
    # Times can only be compared if both ends of the run are attested.
    if len(attestations) == len(KINDS):
        report.expect(
            "created_at",
            fields["created_at"] == attestations[-1].timestamp,
            "is the completion's timestamp",
            "differs from the completion's timestamp",
        )
        _verify_times(report, statement, *attestations)
    _verify_price(report, statement)


def _public_key(fields: Mapping[str, Any]) -> bytes:
    signature = exact(fields["signature"], ("sig", "public_key"), "The receipt's signature")
    public_key = b64decode(text(signature["public_key"], "The receipt's public_key"))
    if len(public_key) != PUBLIC_KEY_SIZE:
        raise FormatError("The receipt's public_key does not have 32 bytes.")
    return public_key


def _verify_fields(
    report: VerificationReport, fields: Mapping[str, Any], statement: Statement, identifier: str
) -> None:
    expected = {
        "job_id": statement.job_id,
        "receipt_id": receipt_id(statement.job_id),
        "miner_id": identifier,
    }
    for name, value in expected.items():
        report.expect(name, fields[name] == value, f"is {value}", f"should be {value}, from what is signed")
    report.expect(
        "statement",
        statement.miner_id == identifier,
        "names the miner that signed it",
        f"names {statement.miner_id}, but {identifier} signed it",
    )
    report.expect(
        "signature",
        fields["signature"]["sig"] == fields["envelope"]["signatures"][0]["sig"],
        "repeats the envelope's signature",
        "sig differs from the envelope's signature",
    )


def _verify_attestations(
    report: VerificationReport,
    fields: Mapping[str, Any],
    log_public_key: bytes,
    digest: str,
    statement: Statement,
) -> list[Attestation]:
    """Return the attestations that are signed and match the statement."""
    entries = report.attempt(
        "attestations", lambda: items(fields["attestations"], "The list of attestations")
    )
    # More than these two would be words of the coordinator that nobody checks.
    if entries is None or not report.expect(
        "attestations",
        len(entries) == len(KINDS),
        "are two",
        "are not exactly an assignment and a completion",
    ):
        return []
    valid = []
    for kind, entry in zip(KINDS, entries, strict=True):
        # In a fixed order, so that a completion cannot stand in for an assignment.
        attestation = report.attempt(kind, partial(verify_attestation, entry, log_public_key))
        if attestation is None:
            continue
        wrong = [
            name
            for name, actual, expected in (
                ("type", attestation.kind, kind),
                ("statement_sha256", attestation.statement_sha256, digest),
                ("job_id", attestation.job_id, statement.job_id),
                ("miner_id", attestation.miner_id, statement.miner_id),
                ("fence", attestation.fence, statement.fence),
            )
            if actual != expected
        ]
        if report.expect(
            kind,
            not wrong,
            "is attested by the log's key",
            f"{', '.join(wrong)} differs from the signed statement",
        ):
            valid.append(attestation)
    report.attested = len(valid)
    return valid


def _verify_times(
    report: VerificationReport, statement: Statement, assignment: Attestation, completion: Attestation
) -> None:
    wrong = time_errors(statement, assignment.timestamp, completion.timestamp, CLOCK_SKEW_SECONDS)
    report.expect("times", not wrong, "lie between assignment and completion", "; ".join(wrong.values()))


def time_errors(
    statement: Statement, assigned_at: str, completed_at: str, skew_seconds: float
) -> dict[str, str]:
    """Return the errors in a statement's times, by field. Times are RFC 3339 UTC, and are compared in milliseconds.

    A run must start after its assignment and end before its completion, each within `skew_seconds`, and must not end before it starts.
    """
    started, finished = _moment(statement.started_at), _moment(statement.finished_at)
    skew = timedelta(seconds=skew_seconds)
    wrong = {}
    if started - _moment(assigned_at) < -skew:
        wrong["started_at"] = f"started_at {statement.started_at} is before the assignment at {assigned_at}"
    if finished < started:
        wrong["finished_at"] = f"finished_at {statement.finished_at} is before started_at"
    elif finished - _moment(completed_at) > skew:
        wrong["finished_at"] = (
            f"finished_at {statement.finished_at} is after the completion at {completed_at}"
        )
    return wrong


def _moment(time: str) -> datetime:
    moment = datetime.fromisoformat(time)
    # JavaScript has no finer times, and both SDKs must come to the same verdict.
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _verify_price(report: VerificationReport, statement: Statement) -> None:
    # At most, because the job's maximum cost caps the price, and is not in the statement.
    full = uncapped_price(statement.units, statement.unit_price)
    report.expect(
        "price",
        statement.price <= full,
        f"is {money(statement.price)}",
        f"is {money(statement.price)}, more than units x unit_price ({money(full)})",
    )


def _verify_proof(report: VerificationReport, receipt: object, text_of_proof: object, policy: Policy) -> None:
    """Check that a checkpoint that the policy accepts includes the receipt's leaf."""
    # What is wrong with the receipt is reported already.
    if report.statement is None or not isinstance(receipt, Mapping):
        return
    # Computed here from the envelope, so that the proof is about exactly this receipt.
    leaf = receipt_leaf(receipt["envelope"])
    proof = report.attempt("proof", lambda: parse_proof(text(text_of_proof, "The proof")))
    if proof is None:
        return
    checkpoint = report.attempt("checkpoint", lambda: policy.open(proof.note))
    if checkpoint is None:
        return
    report.expect(
        "checkpoint",
        checkpoint.origin == report.statement.origin,
        f"is signed by the log, of {checkpoint.size} leaves",
        f"is of the log {checkpoint.origin}, not of the statement's",
    )
    if report.attempt("inclusion", lambda: _included(leaf, proof, checkpoint)):
        report.log_index = proof.index
        report.passed("inclusion", f"the receipt is leaf {proof.index} of the log")
    report.expect_witnesses(policy, proof.note)


def _included(leaf: bytes, proof: Proof, checkpoint: Checkpoint) -> bool:
    require_inclusion(leaf, proof, checkpoint)
    return True
