"""Receipts: built once by a coordinator, verified by anybody, offline, with nothing but the log's public key.

Everything that a receipt says must follow from what is signed; the verification checks that it does, and says for each
part whether it holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from nacl.signing import SigningKey

from aitbc._shape import exact, items, text
from aitbc.attestation import KINDS, Attestation, attest, verify_attestation
from aitbc.canonical import b64decode, b64encode, canonical_json, sha256_hex
from aitbc.dsse import PUBLIC_KEY_SIZE, open_envelope
from aitbc.errors import FormatError, VerificationError
from aitbc.keys import miner_id, parse_vkey
from aitbc.outputs import output_files
from aitbc.statement import PAYLOAD_TYPE, Statement, money, parse_statement, uncapped_price

BUNDLE_FORMAT = "https://aitbc.bubuit.net/receipt-bundle/v1"

RECEIPT_FIELDS = (
    *("receipt_id", "job_id", "miner_id", "signature", "attestations", "created_at", "envelope"),
)

Artifact = bytes | Path | str
"""An artifact to check: its bytes, its file, or its SHA-256 in hex (also as `sha256:<hex>`)."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a verification looked at. `name` says what, `message` what was found."""

    name: str
    ok: bool
    message: str


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome of verifying a receipt. `valid` means that every check holds.

    `coordinator_attestations` counts the attestations that are signed by the log's key and agree with the statement.
    `statement` is what the miner signed, when its signature is good and its form right.
    """

    valid: bool
    miner_signature_valid: bool
    coordinator_attestations: int
    checks: tuple[Check, ...]
    statement: Statement | None = None

    @property
    def failures(self) -> tuple[str, ...]:
        """One line for every check that does not hold: what was checked, and what is wrong."""
        return tuple(f"{check.name}: {check.message}" for check in self.checks if not check.ok)

    def raise_for_failure(self) -> None:
        """Raise `VerificationError` with all failures unless the receipt is valid."""
        if not self.valid:
            raise VerificationError("The receipt is not valid: " + " ".join(self.failures))


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


def build_bundle(receipt: Mapping[str, Any], results: Any) -> dict[str, Any]:
    """The file that verifies offline: a receipt and the results that it is about."""
    return {"format": BUNDLE_FORMAT, "receipt": dict(receipt), "results": results}


def verify_bundle(
    bundle: object, log_key: str, artifacts: Mapping[str, Artifact] | None = None
) -> Verification:
    """Verify an exported bundle: its receipt, its results and any `artifacts` given (see `verify_receipt`)."""
    parse_vkey(log_key)
    report = _Report()
    fields = report.attempt("bundle", lambda: exact(bundle, ("format", "receipt", "results"), "The bundle"))
    if fields is None or not report.expect(
        "bundle",
        fields["format"] == BUNDLE_FORMAT,
        "is in the exported form",
        f"its format is not {BUNDLE_FORMAT}",
    ):
        return report.verification()
    _verify(report, fields["receipt"], log_key)
    _verify_results(report, fields["results"])
    _verify_artifacts(report, artifacts or {})
    return report.verification()


def verify_receipt(
    receipt: object,
    *,
    log_key: str,
    results: Any = None,
    artifacts: Mapping[str, Artifact] | None = None,
) -> Verification:
    """Check that everything a receipt says is signed, or follows from what is signed.

    `log_key` is the coordinator's vkey. With `results` (the `results` of the job), their digest, units and output files
    are checked too; with `artifacts` (by artifact id or file name), the digests of those files. The receipt may be
    anything: what is wrong with it is reported, never raised. Raises `FormatError` only for a malformed `log_key`.
    """
    report = _Report()
    _verify(report, receipt, log_key)
    if results is not None:
        _verify_results(report, results)
    _verify_artifacts(report, artifacts or {})
    return report.verification()


@dataclass(slots=True)
class _Report:
    """Collects checks. `statement` stands once the miner's signature is known to be good."""

    checks: list[Check] = field(default_factory=list)
    signed: bool = False
    attested: int = 0
    statement: Statement | None = None

    def expect(self, name: str, ok: bool, good: str, bad: str) -> bool:
        self.checks.append(Check(name, ok, good if ok else bad + "."))
        return ok

    def attempt(self, name: str, read: Callable[[], _T]) -> _T | None:
        """Run `read`; a `VerificationError` becomes a failed check."""
        try:
            return read()
        except VerificationError as error:
            self.checks.append(Check(name, ok=False, message=str(error)))
            return None

    def verification(self) -> Verification:
        return Verification(
            valid=self.signed and all(check.ok for check in self.checks),
            miner_signature_valid=self.signed,
            coordinator_attestations=self.attested,
            checks=tuple(self.checks),
            statement=self.statement,
        )


def _verify(report: _Report, receipt: object, log_key: str) -> None:
    origin, log_public_key = parse_vkey(log_key)
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
    _verify_price(report, statement)


def _public_key(fields: Mapping[str, Any]) -> bytes:
    signature = exact(fields["signature"], ("sig", "public_key"), "The receipt's signature")
    public_key = b64decode(text(signature["public_key"], "The receipt's public_key"))
    if len(public_key) != PUBLIC_KEY_SIZE:
        raise FormatError("The receipt's public_key does not have 32 bytes.")
    return public_key


def _verify_fields(report: _Report, fields: Mapping[str, Any], statement: Statement, identifier: str) -> None:
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
    report: _Report, fields: Mapping[str, Any], log_public_key: bytes, digest: str, statement: Statement
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


def _verify_price(report: _Report, statement: Statement) -> None:
    full = uncapped_price(statement.units, statement.unit_price)
    report.expect(
        "price",
        statement.price <= full,
        f"is {money(statement.price)}",
        f"is {money(statement.price)}, more than units x unit_price ({money(full)})",
    )


def _verify_results(report: _Report, results: Any) -> None:
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


def _verify_artifacts(report: _Report, artifacts: Mapping[str, Artifact]) -> None:
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
