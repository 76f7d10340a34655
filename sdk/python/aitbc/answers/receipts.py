"""Answers about receipts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aitbc.answers import fields
from aitbc.answers.fields import example
from aitbc.answers.record import AnswerPart, Record


class MinerSignature(AnswerPart):
    """The miner's signature and public key, in base64."""

    sig: str = Field(examples=["base64_signature"])
    public_key: str = Field(examples=["base64_public_key"])


class ReceiptAttestation(AnswerPart):
    """A statement about a run that the coordinator signs."""

    type: Literal["assignment", "completion"]
    timestamp: fields.Time
    statement_sha256: fields.Sha256
    job_id: fields.JobId
    miner_id: fields.MinerId
    fence: str = Field(examples=["1"])
    signature: str = Field(examples=["base64_attestation"])


class EnvelopeSignature(AnswerPart):
    """The only signature of an envelope; `keyid` is empty."""

    keyid: str = Field(examples=[""])
    sig: str = Field(examples=["base64_signature"])


class Envelope(AnswerPart):
    """The miner's signed statement, a DSSE envelope."""

    payloadType: str = Field(examples=["application/vnd.in-toto+json"])  # noqa: N815 - DSSE's own name
    payload: str = Field(examples=["base64_statement"])
    signatures: list[EnvelopeSignature]


def _attested(kind: str, timestamp: str) -> dict[str, str]:
    return {
        "type": kind,
        "timestamp": timestamp,
        "statement_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "job_id": "job_1234567890",
        "miner_id": "miner_1234567890",
        "fence": "1",
        "signature": "base64_attestation",
    }


class Receipt(Record):
    """The miner's signed statement with the coordinator's attestations."""

    model_config = example(
        {
            "receipt_id": "receipt_1234567890",
            "job_id": "job_1234567890",
            "miner_id": "miner_1234567890",
            "signature": {"sig": "base64_signature", "public_key": "base64_public_key"},
            "attestations": [
                _attested("assignment", "2024-01-01T12:01:00Z"),
                _attested("completion", "2024-01-01T12:04:00Z"),
            ],
            "created_at": "2024-01-01T12:04:00Z",
            "envelope": {
                "payloadType": "application/vnd.in-toto+json",
                "payload": "base64_statement",
                "signatures": [{"keyid": "", "sig": "base64_signature"}],
            },
        }
    )

    needs = ("receipt_id", "job_id", "miner_id", "signature", "attestations", "created_at")

    receipt_id: fields.ReceiptId
    job_id: fields.JobId
    miner_id: fields.MinerId
    signature: MinerSignature
    attestations: list[ReceiptAttestation]
    created_at: fields.Time
    envelope: Envelope


class VerifyAnswer(Record):
    """The result of a verification; `failures` names each part that is not valid."""

    model_config = example(
        {
            "valid": True,
            "miner_signature_valid": True,
            "coordinator_attestations": 2,
            "verified_at": "2024-01-01T12:05:00Z",
            "failures": [],
        }
    )

    needs = ("valid", "miner_signature_valid", "coordinator_attestations")

    valid: bool
    miner_signature_valid: bool
    coordinator_attestations: int = Field(description="Number of valid attestations")
    verified_at: fields.Time
    failures: list[str]
