"""Receipts: built once by a coordinator, verified by anybody, offline, with nothing but the log's public key.

Everything that a receipt says must follow from what is signed; the verification checks that it does, and says for each
part whether it holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import partial
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey

from aitbc._verification.report import Check, Report, Verification
from aitbc._verification.shape import exact, items, text
from aitbc.attestation import KINDS, Attestation, attest, verify_attestation
from aitbc.canonical import b64decode, b64encode, canonical_json, sha256_hex
from aitbc.dsse import PUBLIC_KEY_SIZE, open_envelope
from aitbc.errors import FormatError
from aitbc.keys import miner_id, parse_vkey
from aitbc.log import Checkpoint, Proof, parse_proof, receipt_leaf, require_inclusion
from aitbc.outputs import output_files
from aitbc.policy import Policy
from aitbc.statement import PAYLOAD_TYPE, Statement, money, parse_statement, uncapped_price

BUNDLE_FORMAT = "https://aitbc.bubuit.net/receipt-bundle/v2"

RECEIPT_FIELDS = (
    *("receipt_id", "job_id", "miner_id", "signature", "attestations", "created_at", "envelope"),
)

CLOCK_SKEW_SECONDS = 300
"""How far the times in a statement may lie outside its attestations: the miner's clock and the coordinator's may differ."""

_BUNDLE_FIELDS = ("format", "receipt", "results", "proof")

Trust = str | Policy
"""What a verifier trusts: a log's public key (a vkey), or a policy with logs and witnesses."""

Artifact = bytes | Path | str
"""An artifact to check: its bytes, its file, or its SHA-256 in hex (also as `sha256:<hex>`)."""

__all__ = [
    "CLOCK_SKEW_SECONDS",
    "Artifact",
    "Check",
    "Trust",
    "Verification",
    "build_bundle",
    "build_receipt",
    "receipt_id",
    "time_faults",
    "verify_bundle",
    "verify_receipt",
]


def receipt_id(job_id: str) -> str:
    """The id of the one receipt that a job can have."""
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
    """The receipt of a job, with the coordinator's two attestations.

    `envelope` was opened with the miner's `public_key` and holds `statement`. `assigned_at` and `completed_at` are RFC
    3339 UTC with `Z`. `signing_key` is the log's.
    """
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
    """The file that verifies offline: a receipt, the results that it is about, and the proof that the log has it.

    `proof` is the `tlog-proof@v1` of the receipt's leaf; the signed checkpoint stands in it.
    """
    return {"format": BUNDLE_FORMAT, "receipt": dict(receipt), "results": results, "proof": proof}


def verify_bundle(
    bundle: object, log_key: Trust, artifacts: Mapping[str, Artifact] | None = None
) -> Verification:
    """Verify an exported bundle: its receipt, its proof, its results and any `artifacts` given (see `verify_receipt`)."""
    policy = _policy(log_key)
    report = Report()
    fields = report.attempt("bundle", lambda: exact(bundle, _BUNDLE_FIELDS, "The bundle"))
    if fields is None or not report.expect(
        "bundle",
        fields["format"] == BUNDLE_FORMAT,
        "is in the exported form",
        f"its format is not {BUNDLE_FORMAT}",
    ):
        return report.verification()
    _verify(report, fields["receipt"], policy)
    _verify_proof(report, fields["receipt"], fields["proof"], policy)
    _verify_results(report, fields["results"])
    _verify_artifacts(report, artifacts or {})
    return report.verification()


def verify_receipt(
    receipt: object,
    *,
    log_key: Trust,
    results: Any = None,
    proof: str | None = None,
    artifacts: Mapping[str, Artifact] | None = None,
) -> Verification:
    """Check that everything a receipt says is signed, or follows from what is signed.

    `log_key` is the coordinator's vkey, or a policy. With `results` (the `results` of the job), their digest, units and
    output files are checked too; with `proof` (a `tlog-proof@v1`), that the log has the receipt, under a checkpoint that
    the policy accepts; with `artifacts` (by artifact id or file name), the digests of those files. The receipt may be
    anything: what is wrong with it is reported, never raised. Raises `FormatError` only for a malformed `log_key`.
    """
    policy = _policy(log_key)
    report = Report()
    _verify(report, receipt, policy)
    if proof is not None:
        _verify_proof(report, receipt, proof, policy)
    elif policy.quorum != "none":
        report.expect("witnesses", False, "", "the policy asks for witnesses, which only a proof can show")
    if results is not None:
        _verify_results(report, results)
    _verify_artifacts(report, artifacts or {})
    return report.verification()


def _policy(trust: Trust) -> Policy:
    return trust if isinstance(trust, Policy) else Policy.of_log(trust)


def _verify(report: Report, receipt: object, policy: Policy) -> None:
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
    report.signed = report.expect("miner signature", True, f"verifies under the key of {identifier}", "")
    statement = report.attempt("statement", lambda: parse_statement(payload))
    if statement is None:
        return
    report.statement = statement
    _verify_fields(report, fields, statement, identifier)
    log_key = policy.log_key(statement.origin)
    if log_key is None:
        report.expect("origin", False, "", f"the policy does not name the log {statement.origin}")
        return
    origin, log_public_key = parse_vkey(log_key)
    report.expect(
        "origin",
        statement.origin == origin,
        f"the statement is for the log {origin}",
        f"the statement is for the log {statement.origin}, not for {origin}",
    )
    attestations = _verify_attestations(report, fields, log_public_key, sha256_hex(payload), statement)
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


def _verify_fields(report: Report, fields: Mapping[str, Any], statement: Statement, identifier: str) -> None:
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
    report: Report, fields: Mapping[str, Any], log_public_key: bytes, digest: str, statement: Statement
) -> list[Attestation]:
    """The attestations that are signed and agree with the statement."""
    entries = report.attempt(
        "attestations", lambda: items(fields["attestations"], "The list of attestations")
    )
    if entries is None or not report.expect(
        "attestations",
        len(entries) == len(KINDS),
        "are two",
        "are not exactly an assignment and a completion",
    ):
        return []
    valid = []
    for kind, entry in zip(KINDS, entries, strict=True):
        attestation = report.attempt(kind, partial(verify_attestation, entry, log_public_key))
        if attestation is None:
            continue
        wrong = [
            name
            for name, found, expected in (
                ("type", attestation.kind, kind),
                ("statement_sha256", attestation.statement_sha256, digest),
                ("job_id", attestation.job_id, statement.job_id),
                ("miner_id", attestation.miner_id, statement.miner_id),
                ("fence", attestation.fence, statement.fence),
            )
            if found != expected
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
    report: Report, statement: Statement, assignment: Attestation, completion: Attestation
) -> None:
    faults = time_faults(statement, assignment.timestamp, completion.timestamp, CLOCK_SKEW_SECONDS)
    report.expect("times", not faults, "lie between assignment and completion", "; ".join(faults.values()))


def time_faults(
    statement: Statement, assigned_at: str, completed_at: str, skew_seconds: float
) -> dict[str, str]:
    """What is wrong with a statement's times, by field; times are RFC 3339 UTC, compared to the millisecond.

    A run starts after its assignment and ends before its completion, give or take `skew_seconds`, and it does not end before
    it starts.
    """
    started, finished = _moment(statement.started_at), _moment(statement.finished_at)
    skew = timedelta(seconds=skew_seconds)
    faults = {}
    if started - _moment(assigned_at) < -skew:
        faults["started_at"] = f"started_at {statement.started_at} is before the assignment at {assigned_at}"
    if finished < started:
        faults["finished_at"] = f"finished_at {statement.finished_at} is before started_at"
    elif finished - _moment(completed_at) > skew:
        faults["finished_at"] = (
            f"finished_at {statement.finished_at} is after the completion at {completed_at}"
        )
    return faults


def _moment(time: str) -> datetime:
    moment = datetime.fromisoformat(time)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _verify_price(report: Report, statement: Statement) -> None:
    full = uncapped_price(statement.units, statement.unit_price)
    report.expect(
        "price",
        statement.price <= full,
        f"is {money(statement.price)}",
        f"is {money(statement.price)}, more than units x unit_price ({money(full)})",
    )


def _verify_proof(report: Report, receipt: object, text_of_proof: object, policy: Policy) -> None:
    """Whether the receipt's leaf stands under a checkpoint that the policy accepts."""
    if report.statement is None or not isinstance(receipt, Mapping):
        return
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
        report.expect("inclusion", True, f"the receipt is leaf {proof.index} of the log", "")
    cosigned = report.attempt("witnesses", lambda: policy.cosigned_by(proof.note))
    if cosigned is not None:
        names = ", ".join(sorted(cosigned)) or "none"
        report.expect(
            "witnesses",
            policy.is_met_by(cosigned),
            f"cosigned by {names}; the policy asks for {policy.quorum}",
            f"cosigned by {names}, but the policy asks for {policy.quorum}",
        )


def _included(leaf: bytes, proof: Proof, checkpoint: Checkpoint) -> bool:
    require_inclusion(leaf, proof, checkpoint)
    return True


def _verify_results(report: Report, results: Any) -> None:
    statement = report.statement
    if statement is None:
        return
    data = report.attempt("results", lambda: canonical_json(results))
    if data is None or not report.expect(
        "results",
        sha256_hex(data) == statement.subject[0].sha256,
        "have the signed SHA-256",
        "SHA-256 differs from the signed statement",
    ):
        return
    units = results.get("units") if isinstance(results, Mapping) else None
    report.expect(
        "units",
        _same_number(units, statement.units),
        "agree with the results",
        "differ from those in the results",
    )
    files = [(item.name, item.sha256) for item in output_files(results)]
    report.expect(
        "files",
        files == [(item.name, item.sha256) for item in statement.subject[1:]],
        f"the {len(files)} output files of the results are the signed ones",
        "the output files of the results are not those of the signed statement",
    )


def _same_number(value: Any, expected: Decimal) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return False
    try:
        return Decimal(str(value)) == expected
    except InvalidOperation:
        return False


def _verify_artifacts(report: Report, artifacts: Mapping[str, Artifact]) -> None:
    statement = report.statement
    if statement is None:
        return
    for name, artifact in artifacts.items():
        label = f"artifact {name}"
        digests = {
            item.sha256 for item in statement.subject[1:] if name in {item.name, f"sha256:{item.sha256}"}
        }
        if not digests:
            report.expect(label, False, "", "the signed statement has no such output")
            continue
        try:
            digest = _artifact_digest(artifact)
        except OSError as error:
            report.expect(label, False, "", f"cannot be read ({error.strerror or error})")
            continue
        report.expect(
            label,
            digest in digests,
            "has the SHA-256 of a signed output",
            "SHA-256 differs from the signed statement",
        )


def _artifact_digest(artifact: Artifact) -> str:
    if isinstance(artifact, bytes):
        return sha256_hex(artifact)
    if isinstance(artifact, str):
        return artifact.removeprefix("sha256:")
    with artifact.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
