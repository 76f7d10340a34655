"""Verification of a job's results and output files against the signed statement."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from aitbc._verification.report import VerificationReport
from aitbc.canonical import canonical_json, sha256_hex
from aitbc.outputs import output_files

Artifact = bytes | Path | str
"""An artifact to verify: its bytes, its file, or its SHA-256 in hex (also as `sha256:<hex>`)."""


def verify_results(report: VerificationReport, results: Any) -> None:
    """Check the digest of the results, and that their units and output files match the statement."""
    statement = report.statement
    if statement is None:
        return
    # The digest is of the canonical form, since the database may change the order.
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
        f"{len(files)} output file{' matches its signature' if len(files) == 1 else 's match their signatures'}",
        "the output files of the results are not those of the signed statement",
    )


def _same_number(value: Any, expected: Decimal) -> bool:
    # `Decimal(True)` would be 1.
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return False
    try:
        # Through the text: the float 0.1 is not exactly a tenth.
        return Decimal(str(value)) == expected
    except InvalidOperation:
        return False


def verify_artifacts(report: VerificationReport, artifacts: Mapping[str, Artifact]) -> None:
    """Check the digests of output files, by artifact id or file name."""
    statement = report.statement
    if statement is None:
        return
    for name, artifact in artifacts.items():
        label = f"artifact {name}"
        # Several outputs may have the same name; the file must be one of them.
        digests = {
            item.sha256 for item in statement.subject[1:] if name in {item.name, f"sha256:{item.sha256}"}
        }
        if not digests:
            report.failed(label, "the signed statement has no such output")
            continue
        try:
            digest = _artifact_digest(artifact)
        except OSError as error:
            report.failed(label, f"cannot be read ({error.strerror or error})")
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
