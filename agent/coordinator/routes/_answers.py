"""The shapes of answers, for the OpenAPI document and so that nothing else leaves the server."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Status = Literal["submitted", "running", "completed", "failed", "cancelled"]


class Answer(BaseModel):
    """An answer says exactly what it declares."""

    model_config = ConfigDict(extra="forbid")


class JobError(Answer):
    """Why a job failed."""

    code: str
    message: str


class JobCreated(Answer):
    """A new job. With `Prefer: wait=N` it may have ended already, with `results` or an `error`."""

    job_id: str
    status: Status
    created_at: str
    estimated_completion: str
    service_id: str | None = None
    missing_files: list[str] | None = None
    results: dict[str, Any] | None = None
    error: JobError | None = None


class JobStatus(Answer):
    """A job; what does not apply is left out."""

    job_id: str
    status: Status
    progress: int
    type: str
    service_id: str
    name: str
    created_at: str
    attempts: int
    started_at: str | None = None
    estimated_completion: str | None = None
    completed_at: str | None = None
    failed_at: str | None = None
    cancelled_at: str | None = None
    miner_id: str | None = None
    offer_id: str | None = None
    error: JobError | None = None
    missing_files: list[str] | None = None


class JobPage(Answer):
    """Jobs, newest first, and how many there are in all."""

    jobs: list[JobStatus]
    total: int
    limit: int
    offset: int


class JobCancelled(Answer):
    """A cancelled job."""

    job_id: str
    status: Literal["cancelled"]
    cancelled_at: str


class JobResults(Answer):
    """The results of a completed job, in the shape that its service defines."""

    job_id: str
    status: Literal["completed"]
    results: dict[str, Any]
    completed_at: str


class Artifact(Answer):
    """A stored artifact; `size` in bytes."""

    artifact_id: str
    size: int
    media_type: str


class Upload(Answer):
    """A resumable upload. `length` is null while the client has not told it, `artifact_id` until the file is stored."""

    upload_id: str
    offset: int
    length: int | None
    filename: str | None
    artifact_id: str | None
    created_at: str
    expires_at: str


class ArtifactLink(Answer):
    """A signed link, relative to the API's address, and when it ends."""

    url: str
    expires_at: str


class Signature(Answer):
    """The miner's signature and key, base64."""

    sig: str
    public_key: str


class Attestation(Answer):
    """What the coordinator signs about a run."""

    type: Literal["assignment", "completion"]
    timestamp: str
    statement_sha256: str
    job_id: str
    miner_id: str
    fence: str
    signature: str


class Receipt(Answer):
    """The miner's signed statement with the coordinator's attestations."""

    receipt_id: str
    job_id: str
    miner_id: str
    signature: Signature
    attestations: list[Attestation]
    created_at: str
    envelope: dict[str, Any]


class ReceiptVerification(Answer):
    """What a verification found; `failures` names each part that does not hold."""

    valid: bool
    miner_signature_valid: bool
    coordinator_attestations: int
    verified_at: str
    failures: list[str]


class CheckpointCosigned(Answer):
    """Whose cosignatures were taken, and of the checkpoint of how many leaves."""

    size: int
    cosigned_by: list[str]


class Health(Answer):
    """Whether the coordinator works. `log_key` is what receipts are verified with."""

    status: Literal["ok", "degraded"]
    version: str
    environment: str
    timestamp: str
    services: dict[str, Literal["healthy", "unhealthy"]]
    log_key: str


class Requirements(Answer):
    """What a machine needs to offer a service. Sizes are bytes; `gpu` says whether one is needed, used if there, or never used."""

    gpu: Literal["required", "optional", "unused"]
    vram: int
    memory: int
    disk: int


class ServiceSummary(Answer):
    """A service. `unit` is what it is metered in, `cpu_unit` where there is no GPU; `determinism` how two results compare."""

    service_id: str
    name: str
    category: str
    description: str
    tags: list[str]
    unit: str
    cpu_unit: str
    determinism: str
    route: str | None
    requirements: Requirements
    miners_online: int


class ServiceList(Answer):
    """Services and how many they are."""

    services: list[ServiceSummary]
    total: int


class ServiceDetails(ServiceSummary):
    """A service in full. `models` are the names that a request may use, `adapters` those that it may use beside."""

    models: list[str]
    adapters: list[str]
    output_schema: dict[str, Any]


class ModelNeeds(Answer):
    """What a model takes, in bytes: VRAM at full speed and at least, and memory where there is no GPU."""

    name: str
    kind: Literal["model", "adapter"]
    vram: int
    vram_min: int
    memory: int


class ServiceNeeds(Requirements):
    """What a service needs, and each model of the catalogue beside it."""

    service_id: str
    models: list[ModelNeeds]


class Wallet(Answer):
    """Decimal strings. `balance` can be spent (a miner's: was earned), `held` waits in escrow for unfinished jobs.

    Administrators see the operator's fees as balance, and under `issued` all that was ever credited.
    """

    account_id: str | None = None
    miner_id: str | None = None
    balance: str
    held: str
    issued: str | None = None


class Transaction(Answer):
    """A credit, or the payment of a job: `held` at its submission, then `amount` paid (`fee` included) and the rest `refunded`."""

    transaction_id: str
    type: Literal["credit", "payment"]
    status: Literal["pending", "settled", "refunded"]
    amount: str
    created_at: str
    job_id: str | None = None
    miner_id: str | None = None
    held: str | None = None
    fee: str | None = None
    refunded: str | None = None
    settled_at: str | None = None
    note: str | None = None


class TransactionPage(Answer):
    """Transactions, newest first. `next` is what to send as `before` to go on, where there are more."""

    transactions: list[Transaction]
    next: str | None = None


class Credited(Answer):
    """A credit, and what the account can spend now."""

    transaction_id: str
    account_id: str
    amount: str
    balance: str
    created_at: str


class WebhookSecret(Answer):
    """What webhooks are signed with; the secret before it is used beside it until `previous_valid_until`."""

    secret: str
    created_at: str
    previous_valid_until: str | None = None


class WebhookDelivery(Answer):
    """A message about a job and what has come of it. `gone`: its receiver answered 410 and gets no more."""

    webhook_id: str
    type: Literal["job.completed", "job.failed", "job.cancelled"]
    url: str
    status: Literal["pending", "delivered", "failed", "gone"]
    attempts: int
    created_at: str
    last_attempt_at: str | None = None
    next_attempt_at: str | None = None
    finished_at: str | None = None
    last_status_code: int | None = None
    last_error: str | None = None


class WebhookList(Answer):
    """The messages about a job, oldest first."""

    webhooks: list[WebhookDelivery]


class Account(Answer):
    """Who owns jobs, artifacts and money."""

    account_id: str
    name: str
    balance: str
    held: str
    created_at: str


class AccountPage(Answer):
    """Accounts, oldest first. `next` is what to send as `after` to go on, where there are more."""

    accounts: list[Account]
    next: str | None = None


class OfferRequirements(Answer):
    """What the offer's machine has at least: memory of its largest GPU, and CPU."""

    min_gpu_memory: str | None = None
    min_cpu: str | None = None


class Offer(Answer):
    """A miner's price for each metered unit of jobs of a type or name.

    A `standing` offer follows from the miner's configured prices and has neither `max_jobs` nor an end.
    """

    offer_id: str
    miner_id: str
    job_type: str
    price: str
    status: Literal["active", "exhausted", "expired", "withdrawn"]
    standing: bool
    requirements: OfferRequirements
    created_at: str
    max_jobs: int | None = None
    jobs_left: int | None = None
    expires_at: str | None = None
    reputation: float | None = None


class OfferPage(Answer):
    """Offers. `next` is what to send as `before` to go on in your own ones, where there are more."""

    offers: list[Offer]
    next: str | None = None


class OfferEnded(Answer):
    """An offer that takes no new jobs any more."""

    offer_id: str
    status: Literal["expired", "withdrawn"]


class OfferAccepted(Answer):
    """The payment of a job that was given to an offer: pending until the job ends. `price` is what a unit will cost."""

    transaction_id: str
    status: Literal["pending", "settled", "refunded"]
    created_at: str
    job_id: str
    offer_id: str
    miner_id: str
    price: str


class MarketStats(Answer):
    """The whole market. `average_completion_time` is seconds from a miner getting a job to its result."""

    total_jobs: int
    active_jobs: int
    completed_jobs: int
    failed_jobs: int
    average_completion_time: float
    total_volume: str
    active_miners: int


class MinerStats(Answer):
    """What a miner has done. `total_jobs` are its results and the runs that failed by its fault (docs/reputation.md)."""

    miner_id: str
    reputation: float
    total_jobs: int
    success_rate: float
    average_completion_time: float
    total_earned: str
    active_since: str
    failed_runs: int
    refused_results: int
