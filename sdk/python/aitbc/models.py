"""The coordinator's responses as typed objects that are also mappings: `job.job_id` and `job["job_id"]` are the same.

Fields that this version does not know are preserved and can be read both ways.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from aitbc.outputs import OutputFile, output_files


class Record(BaseModel, Mapping[str, Any]):
    """A response. As a mapping, it has exactly the fields that the coordinator sent: `dict(record)`, `**record`, `record.get()`.

    The attribute of a missing field is None, and its item raises `KeyError`.
    """

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=(), defer_build=True)

    def __getitem__(self, key: str) -> Any:
        if key not in self.model_fields_set:
            raise KeyError(key)
        values = self.__dict__ if key in type(self).model_fields else self.__pydantic_extra__ or {}
        return values[key]

    def __iter__(self) -> Iterator[str]:  # type: ignore[override] # a mapping iterates over its keys
        declared = [name for name in type(self).model_fields if name in self.model_fields_set]
        return iter([*declared, *(self.__pydantic_extra__ or {})])

    def __len__(self) -> int:
        return len(self.model_fields_set)

    def __contains__(self, key: object) -> bool:
        return key in self.model_fields_set

    def __hash__(self) -> int:
        return hash(self.json())

    def json(self, **options: Any) -> str:
        """Return the response as JSON text."""
        return self.model_dump_json(exclude_unset=True, **options)

    def to_dict(self) -> dict[str, Any]:
        """Return the response as plain JSON values, including nested records."""
        return self.model_dump(mode="json", exclude_unset=True)


class Job(Record):
    """The state of a job. Times are RFC 3339 UTC, and `progress` is 0 to 100. A failed job has an `error` (`code`, `message`).

    `cost` is the amount paid for a job that has ended, as a decimal string. `waiting` (`summary`, `can_run`, `reasons`) is only in the
    one event that notifies its client that the job waits for long. `attempts` counts the runs that have begun, at most `max_attempts`; while
    the job waits for the next one, `last_failure` (`code`, `message`) says why the last one ended. `parameters` (without defaults) and `inputs` (`field`,
    `name`, `artifact_id` or `url`, `size`) say what it was asked to do; lists are without them. `sealed` is the part of a sealed job that is in clear.
    """

    job_id: str
    status: str
    type: str | None = None
    name: str | None = None
    labels: dict[str, str] | None = None
    created_at: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    cancelled_at: str | None = None
    estimated_completion: str | None = None
    progress: int | float | None = None
    attempts: int | None = None
    max_attempts: int | None = None
    miner_id: str | None = None
    cost: str | None = None
    error: dict[str, Any] | None = None
    last_failure: dict[str, Any] | None = None
    waiting: dict[str, Any] | None = None
    parameters: dict[str, Any] | None = None
    inputs: list[dict[str, Any]] | None = None
    sealed: dict[str, Any] | None = None

    @property
    def is_final(self) -> bool:
        """Whether the job has ended, so that its state can no longer change."""
        return self.status in {"completed", "failed", "cancelled"}


class ServiceJob(Job):
    """The response to a service call: the created job and, if the call waited for its end, the `results`."""

    service_id: str | None = None
    results: dict[str, Any] | None = None


class Reason(Record):
    """A reason why a job does not run. `who` can change it (client, owner, operator; `time`: it ends on its own), as `action` says.

    `details` has figures for programs, which depend on the `code`.
    """

    code: str
    message: str
    who: str
    action: str
    details: dict[str, Any]


class MinerReasons(Record):
    """The codes of the reasons of one miner. Without any, it can run the job now."""

    miner_id: str
    name: str
    reasons: list[str]


class JobExplanation(Record):
    """Why a job does not run, or that it runs or has ended.

    `can_run` is `now`, `later`, or `never` as it is on any known miner. `position` and `ahead` are its position in the queue, None
    if it is in none; `estimated_start` is None without measured durations to derive it from.
    """

    job_id: str
    status: str
    summary: str
    can_run: str
    reasons: list[Reason]
    position: int | None = None
    ahead: int | None = None
    estimated_start: str | None = None
    miners: list[MinerReasons]


class JobList(Record):
    """One page of jobs. `total` is the number of all matching jobs."""

    jobs: list[Job]
    total: int
    limit: int
    offset: int


class LabelCount(Record):
    """A label, and the number of jobs that have it."""

    key: str
    value: str
    jobs: int


class LabelCounts(Record):
    """The labels of jobs, those of most jobs first. `more`: there are further ones beyond the limit."""

    labels: list[LabelCount]
    more: bool


class JobLogEntry(Record):
    """One line that a run wrote. `source` is the program or stream; `attempt` counts the job's runs from 1."""

    time: str
    attempt: int
    source: str
    text: str


class JobLog(Record):
    """What the runs of a job have written, oldest first. If `truncated`, the log was longer, and lines are missing.

    `opened` and `caution` are as in `JobResults`.
    """

    job_id: str
    entries: list[JobLogEntry]
    truncated: bool
    opened: bool = False
    caution: str | None = None

    def __str__(self) -> str:
        return "\n".join(entry.text for entry in self.entries)


class JobDataDeleted(Record):
    """A job whose data was deleted."""

    job_id: str
    deleted_at: str


class JobResults(Record):
    """The results of a completed job.

    `opened` is whether this client sealed the job, and these are what the miner to which it did so sealed in return. If it is False,
    the coordinator may have read or exchanged them; `caution` says so where the job may have been a sealed one.
    """

    job_id: str
    status: str
    results: dict[str, Any]
    completed_at: str | None = None
    opened: bool = False
    caution: str | None = None

    def output_files(self) -> tuple[OutputFile, ...]:
        """Return the files in the results. Download them with `artifacts.download(file.artifact_id, ...)`."""
        return output_files(self.results)


@dataclass(frozen=True, slots=True)
class JobEvent:
    """An event of a job.

    For a change of state or progress, `kind` is `job_update` and `data` is the `Job`. `resync` marks a gap; the job's outputs so far
    follow, and its state if it may have changed. Other kinds are events of the runner (`token`, `segment`, `preview`, ...) with their
    own data. To resume after an event, pass its `seq` as `after`; it is None for an event after which a stream cannot resume. `opened` is
    as in `JobResults`.
    """

    kind: str
    data: Mapping[str, Any]
    seq: int | None = None
    opened: bool = False

    @property
    def job(self) -> Job | None:
        """The job's state, or None if this event is not a `job_update`."""
        return self.data if isinstance(self.data, Job) else None


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """An event: `job_update`, `marketplace_update`, `receipt_created`, or another type that was requested.

    Pass `seq` as `after` to resume after this event. The type `resync` marks a gap, and `data["reason"]` states its cause.
    """

    type: str
    data: Mapping[str, Any]
    seq: int


class Artifact(Record):
    """A stored file. `artifact_id` is `sha256:<hex>`, `size` is in bytes."""

    artifact_id: str
    size: int
    media_type: str

    @property
    def address(self) -> str:
        """The address of this file in a job's input."""
        return f"artifact:{self.artifact_id}"


class ArtifactLink(Record):
    """A link that reads one artifact without a key until it expires. `url` is relative to the client's `base_url`."""

    url: str
    expires_at: str


class Receipt(Record):
    """A receipt. `aitbc.verify_receipt` verifies it."""

    receipt_id: str
    job_id: str
    miner_id: str
    signature: dict[str, Any]
    attestations: list[dict[str, Any]]
    created_at: str
    envelope: dict[str, Any] | None = None


class VerifyAnswer(Record):
    """The coordinator's verification of a receipt."""

    valid: bool
    miner_signature_valid: bool
    coordinator_attestations: int
    verified_at: str | None = None


class Health(Record):
    """The health of the coordinator and its components."""

    status: str
    version: str
    environment: str | None = None
    timestamp: str | None = None
    services: dict[str, str] | None = None


class Validation(Record):
    """The validation of a request: `errors`, for which it would be refused, and `warnings`.

    Each has a `field` (a dotted path) and a `message`.
    """

    valid: bool
    errors: list[Record]
    warnings: list[Record]


class ServiceList(Record):
    """The available services."""

    services: list[Record]


class Offer(Record):
    """A miner's price for each metered unit of jobs of a type or name. A `standing` offer has no limit and does not expire."""

    offer_id: str
    miner_id: str
    status: str | None = None
    job_type: str | None = None
    price: str | None = None
    reputation: float | None = None
    standing: bool | None = None
    requirements: dict[str, str] | None = None
    max_jobs: int | None = None
    jobs_left: int | None = None
    created_at: str | None = None
    expires_at: str | None = None


class OfferList(Record):
    """Offers. If there are more of the caller's own, `next` is the cursor of the next page."""

    offers: list[Offer]
    next: str | None = None


class Speed(Record):
    """The best and the median score of the miners' benchmarks in `metric`, such as `token/s`."""

    metric: str
    best: float
    typical: float


class ModelSupply(Record):
    """A model, and whether a miner would run it now. `price` is the lowest for a `unit`, a decimal string; None if there is no such miner.

    `downloadable`: a miner would download it first. `typical_seconds` is the measured duration of a run.
    """

    name: str
    available: bool
    miners: int
    price: str | None = None
    unit: str | None = None
    downloadable: bool | None = None
    typical_seconds: float | None = None


class ServiceSupply(Record):
    """A service with its models, and whether a miner would run it now. `price` is the lowest for a `unit`, a decimal string."""

    service_id: str
    name: str
    available: bool
    miners: int
    models: list[ModelSupply]
    price: str | None = None
    unit: str | None = None
    speed: Speed | None = None
    typical_seconds: float | None = None


class ServiceSupplyList(Record):
    """All services, in the order of their ids."""

    services: list[ServiceSupply]


class OfferedService(Record):
    """A service that a miner offers, with the models that it can run without a download. `speed` has a `metric` and a `value`."""

    service_id: str
    price: str
    unit: str
    models: list[str]
    speed: Record | None = None


class MarketMiner(Record):
    """A miner as clients see it. It accepts jobs while it is `available`: online, and not paused."""

    miner_id: str
    name: str
    available: bool
    online: bool
    seen_at: str
    reputation: float
    services: list[OfferedService]
    gpus: list[str] | None = None


class MarketMinerList(Record):
    """Miners, the available ones first. `total` is their number on all pages."""

    miners: list[MarketMiner]
    total: int


class MarketStats(Record):
    """Statistics of the whole market. `average_completion_time` is in seconds, from the assignment of a job to its result."""

    total_jobs: int
    active_jobs: int
    completed_jobs: int
    failed_jobs: int
    average_completion_time: float
    total_volume: str
    active_miners: int


class MinerStats(Record):
    """Statistics of a miner. `reputation` is 0 to 5, `success_rate` 0 to 1, and `average_completion_time` in seconds."""

    miner_id: str
    reputation: float
    total_jobs: int
    success_rate: float
    average_completion_time: float
    total_earned: str
    active_since: str


class Wallet(Record):
    """The available `balance` (a miner's earnings for its owner), and the amount `held` for unfinished jobs, as decimal strings.

    A miner's balance is `available` for a payout or `on_hold`; `pending` is in payouts that have not ended, `paid_out` has arrived.
    """

    balance: str
    held: str
    account_id: str | None = None
    miner_id: str | None = None
    available: str | None = None
    on_hold: str | None = None
    pending: str | None = None
    paid_out: str | None = None


class Transaction(Record):
    """A credit, or the payment for a job. `status` is pending, settled or refunded. Amounts are decimal strings."""

    transaction_id: str
    status: str
    created_at: str
    type: str | None = None
    amount: str | None = None
    job_id: str | None = None
    job_name: str | None = None
    offer_id: str | None = None
    miner_id: str | None = None
    price: str | None = None
    held: str | None = None
    fee: str | None = None
    refunded: str | None = None
    settled_at: str | None = None


class TransactionList(Record):
    """Transactions, newest first. If there are more, `next` is the cursor of the next page."""

    transactions: list[Transaction]
    next: str | None = None
