"""The shapes of answers, for the OpenAPI document and so that nothing else leaves the server."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from agent.coordinator.operations.callers import Role
from agent.core.values import fields
from agent.core.values.fields import Answer, example

KeyName = Annotated[str, Field(min_length=1, max_length=100, examples=["render farm"])]
Status = Literal["submitted", "running", "completed", "failed", "cancelled"]


class JobError(Answer):
    """Why a job failed."""

    code: str = Field(examples=["INPUT_INVALID"])
    message: str = Field(examples=["The file is no video."])


class JobCreated(Answer):
    """A new job. With `Prefer: wait=N` it may have ended already, with `results` or an `error`."""

    model_config = example(
        {
            "job_id": "job_1234567890",
            "status": "submitted",
            "created_at": "2024-01-01T12:00:00Z",
            "estimated_completion": "2024-01-01T12:05:00Z",
        }
    )

    job_id: fields.JobId
    status: Status
    created_at: fields.Time
    estimated_completion: fields.Time
    service_id: fields.ServiceId | None = Field(default=None, description="Of a service call")
    missing_files: list[str] | None = Field(default=None, description="Files that are still to be uploaded")
    results: dict[str, Any] | None = None
    error: JobError | None = None


class JobStatus(Answer):
    """A job; what does not apply is left out."""

    model_config = example(
        {
            "job_id": "job_1234567890",
            "status": "running",
            "progress": 75,
            "type": "ai-inference",
            "service_id": "ai_inference",
            "name": "image-classification",
            "created_at": "2024-01-01T12:00:00Z",
            "attempts": 1,
            "started_at": "2024-01-01T12:01:00Z",
            "estimated_completion": "2024-01-01T12:05:00Z",
            "miner_id": "miner_1234567890",
        }
    )

    job_id: fields.JobId
    status: Status
    progress: fields.Percentage
    type: str = Field(description="As the request wrote it")
    service_id: fields.ServiceId
    name: str
    created_at: fields.Time
    attempts: int = Field(description="Runs that have begun")
    started_at: fields.Time | None = None
    estimated_completion: fields.Time | None = None
    completed_at: fields.Time | None = None
    failed_at: fields.Time | None = None
    cancelled_at: fields.Time | None = None
    miner_id: fields.MinerId | None = None
    offer_id: fields.OfferId | None = None
    cost: fields.Amount | None = Field(
        default=None, description="Paid for a job that has ended; the rest of its max_cost came back"
    )
    error: JobError | None = Field(default=None, description="Of a failed job")
    missing_files: list[str] | None = Field(default=None, description="Files that are still to be uploaded")


class JobPage(Answer):
    """Jobs, newest first, and how many there are in all."""

    model_config = example(
        {
            "jobs": [
                {
                    "job_id": "job_1234567890",
                    "status": "completed",
                    "progress": 100,
                    "type": "ai-inference",
                    "service_id": "ai_inference",
                    "name": "image-classification",
                    "created_at": "2024-01-01T12:00:00Z",
                    "attempts": 1,
                    "started_at": "2024-01-01T12:01:00Z",
                    "completed_at": "2024-01-01T12:04:00Z",
                    "miner_id": "miner_1234567890",
                }
            ],
            "total": 1,
            "limit": 50,
            "offset": 0,
        }
    )

    jobs: list[JobStatus]
    total: int
    limit: int
    offset: int


class JobCancelled(Answer):
    """A cancelled job."""

    model_config = example(
        {"job_id": "job_1234567890", "status": "cancelled", "cancelled_at": "2024-01-01T12:03:00Z"}
    )

    job_id: fields.JobId
    status: Literal["cancelled"]
    cancelled_at: fields.Time


class JobResults(Answer):
    """The results of a completed job, in the shape that its service defines."""

    model_config = example(
        {
            "job_id": "job_1234567890",
            "status": "completed",
            "results": {"prediction": "cat", "confidence": 0.95, "processing_time": 1.23, "units": 1.5},
            "completed_at": "2024-01-01T12:04:00Z",
        }
    )

    job_id: fields.JobId
    status: Literal["completed"]
    results: dict[str, Any]
    completed_at: fields.Time


class Artifact(Answer):
    """A stored artifact; `size` in bytes."""

    artifact_id: fields.ArtifactId
    size: int = Field(ge=0, examples=[1048576])
    media_type: str = Field(examples=["video/mp4"])


class Upload(Answer):
    """A resumable upload. `length` is null while the client has not told it, `artifact_id` until the file is stored."""

    upload_id: fields.UploadId
    offset: int = Field(ge=0, description="Bytes that have arrived", examples=[524288])
    length: int | None = Field(description="Bytes in all", examples=[1048576])
    filename: str | None = Field(examples=["film.mkv"])
    artifact_id: fields.ArtifactId | None
    created_at: fields.Time
    expires_at: fields.Time


class ArtifactLink(Answer):
    """A signed link, relative to the API's address, and when it ends."""

    url: str = Field(
        examples=["/v1/artifacts/sha256:9f86...?expires=1704110400&type=video%2Fmp4&signature=..."]
    )
    expires_at: fields.Time


class Signature(Answer):
    """The miner's signature and key, base64."""

    sig: str = Field(examples=["base64_signature"])
    public_key: str = Field(examples=["base64_public_key"])


class Attestation(Answer):
    """What the coordinator signs about a run."""

    type: Literal["assignment", "completion"]
    timestamp: fields.Time
    statement_sha256: fields.Sha256
    job_id: fields.JobId
    miner_id: fields.MinerId
    fence: str = Field(examples=["1"])
    signature: str = Field(examples=["base64_attestation"])


class EnvelopeSignature(Answer):
    """The one signature of an envelope; `keyid` is empty."""

    keyid: str = Field(examples=[""])
    sig: str = Field(examples=["base64_signature"])


class Envelope(Answer):
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


class Receipt(Answer):
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

    receipt_id: fields.ReceiptId
    job_id: fields.JobId
    miner_id: fields.MinerId
    signature: Signature
    attestations: list[Attestation]
    created_at: fields.Time
    envelope: Envelope


class ReceiptVerification(Answer):
    """What a verification found; `failures` names each part that does not hold."""

    model_config = example(
        {
            "valid": True,
            "miner_signature_valid": True,
            "coordinator_attestations": 2,
            "verified_at": "2024-01-01T12:05:00Z",
            "failures": [],
        }
    )

    valid: bool
    miner_signature_valid: bool
    coordinator_attestations: int = Field(description="How many of them hold")
    verified_at: fields.Time
    failures: list[str]


class CheckpointCosigned(Answer):
    """Whose cosignatures were taken, and of the checkpoint of how many leaves."""

    size: int = Field(ge=0, examples=[1042])
    cosigned_by: list[str] = Field(examples=[["witness.example.net"]])


class Health(Answer):
    """Whether the coordinator works. `log_key` is what receipts are verified with."""

    model_config = example(
        {
            "status": "ok",
            "version": "1.0.0",
            "environment": "production",
            "timestamp": "2024-01-01T12:00:00Z",
            "services": {"database": "healthy", "blockchain": "healthy", "marketplace": "healthy"},
            "log_key": "log.example.org+3f1c9a02+AQ==",
        }
    )

    status: Literal["ok", "degraded"]
    version: str
    environment: str
    timestamp: fields.Time
    services: dict[str, Literal["healthy", "unhealthy"]]
    log_key: str


class Wallet(Answer):
    """Decimal strings. `balance` can be spent (a miner's: was earned), `held` waits in escrow for unfinished jobs.

    Administrators see the operator's fees as balance, and under `issued` all that was ever credited.
    """

    model_config = example({"account_id": "account_1234567890", "balance": "999.50", "held": "0.10"})

    account_id: fields.AccountId | None = None
    miner_id: fields.MinerId | None = None
    balance: fields.Amount
    held: fields.Amount
    issued: fields.Amount | None = None


class Transaction(Answer):
    """A credit, or the payment of a job: `held` at its submission, then `amount` paid (`fee` included) and the rest `refunded`."""

    model_config = example(
        {
            "transaction_id": "tx_1234567890",
            "type": "payment",
            "status": "settled",
            "amount": "0.04",
            "created_at": "2024-01-01T12:00:00Z",
            "job_id": "job_1234567890",
            "held": "0.10",
            "fee": "0",
            "refunded": "0.06",
            "miner_id": "miner_1234567890",
            "settled_at": "2024-01-01T12:04:00Z",
        }
    )

    transaction_id: fields.TransactionId
    type: Literal["credit", "payment"]
    status: Literal["pending", "settled", "refunded"]
    amount: fields.Amount
    created_at: fields.Time
    job_id: fields.JobId | None = None
    miner_id: fields.MinerId | None = None
    held: fields.Amount | None = None
    fee: fields.Amount | None = None
    refunded: fields.Amount | None = None
    settled_at: fields.Time | None = None
    note: str | None = None


class TransactionPage(Answer):
    """Transactions, newest first. `next` is what to send as `before` to go on, where there are more."""

    transactions: list[Transaction]
    next: str | None = None


class Credited(Answer):
    """A credit, and what the account can spend now."""

    transaction_id: fields.TransactionId
    account_id: fields.AccountId
    amount: fields.Amount
    balance: fields.Amount
    created_at: fields.Time


class Key(Answer):
    """A key without its secret; what does not apply is left out."""

    key_id: fields.KeyId
    role: Role
    name: str = Field(examples=["render farm"])
    account_id: fields.AccountId | None = None
    miner_id: fields.MinerId | None = None
    created_at: fields.Time
    revoked_at: fields.Time | None = None


class NewKey(Key):
    """A key just made, with its secret."""

    key: str = Field(description="The secret", examples=["aitbc_client_secret"])


class Account(Answer):
    """Who owns jobs, artifacts and money."""

    account_id: fields.AccountId
    name: str = Field(examples=["render farm"])
    balance: fields.Amount
    held: fields.Amount
    created_at: fields.Time


class AccountPage(Answer):
    """Accounts, oldest first. `next` is what to send as `after` to go on, where there are more."""

    accounts: list[Account]
    next: str | None = None
