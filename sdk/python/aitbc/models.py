"""The coordinator's answers as typed objects that are mappings too: `job.job_id` and `job["job_id"]` are the same.

Fields that this version does not know are kept and can be read both ways.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from aitbc.outputs import OutputFile, output_files


class Record(BaseModel, Mapping[str, Any]):
    """An answer. As a mapping it holds exactly what the coordinator sent: `dict(record)`, `**record`, `record.get()`.

    An attribute that the answer lacks is None; its item raises `KeyError`.
    """

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

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
        """The answer as JSON text."""
        return self.model_dump_json(exclude_unset=True, **options)

    def to_dict(self) -> dict[str, Any]:
        """The answer as plain JSON values, nested records too."""
        return self.model_dump(mode="json", exclude_unset=True)


class Job(Record):
    """A job's state. Times are RFC 3339 UTC, `progress` is 0 to 100, `error` (`code`, `message`) is a failed job's.

    `cost` is what was paid for a job that has ended, a decimal string.
    """

    job_id: str
    status: str
    type: str | None = None
    created_at: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    cancelled_at: str | None = None
    estimated_completion: str | None = None
    progress: int | float | None = None
    miner_id: str | None = None
    cost: str | None = None
    error: dict[str, Any] | None = None

    @property
    def is_final(self) -> bool:
        """Whether the state can change no more."""
        return self.status in {"completed", "failed", "cancelled"}


class ServiceJob(Job):
    """The answer to a service call: the created job and, when the call waited for its end, the `results`."""

    service_id: str | None = None
    results: dict[str, Any] | None = None


class JobList(Record):
    """One page of jobs; `total` counts all that match."""

    jobs: list[Job]
    total: int
    limit: int
    offset: int


class JobResults(Record):
    """What a completed job made."""

    job_id: str
    status: str
    results: dict[str, Any]
    completed_at: str | None = None

    def output_files(self) -> tuple[OutputFile, ...]:
        """The files among the results, to be fetched with `artifacts.download(file.artifact_id, ...)`."""
        return output_files(self.results)


@dataclass(frozen=True, slots=True)
class JobEvent:
    """Something that happened to a job.

    `kind` is `job_update` for a change of state or progress, and `data` is the `Job` then. `resync` says that something was
    lost; the job's outputs so far follow, and its state where that may have changed. Every other kind is what the
    runner calls it (`token`, `segment`, `preview`, ...), with data of its own. To go on after an event, pass its `seq` as
    `after`; None where only a later one can be gone on after.
    """

    kind: str
    data: Mapping[str, Any]
    seq: int | None = None

    @property
    def job(self) -> Job | None:
        """The job's state where this is a change of it."""
        return self.data if isinstance(self.data, Job) else None


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """Something that happened: `job_update`, `marketplace_update`, `receipt_created`, or what was asked for beside.

    `seq` is what to pass as `after` to go on after it. The type `resync` says where something was lost, and in
    `data["reason"]` how.
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
        """What to write into a job's input to use this file."""
        return f"artifact:{self.artifact_id}"


class ArtifactLink(Record):
    """A link that reads one artifact without a key, until it expires. `url` is relative to the client's `base_url`."""

    url: str
    expires_at: str


class Receipt(Record):
    """A receipt; `aitbc.verify_receipt` checks it."""

    receipt_id: str
    job_id: str
    miner_id: str
    signature: dict[str, Any]
    attestations: list[dict[str, Any]]
    created_at: str
    envelope: dict[str, Any] | None = None


class VerifyAnswer(Record):
    """What the coordinator says about a receipt."""

    valid: bool
    miner_signature_valid: bool
    coordinator_attestations: int
    verified_at: str | None = None


class Health(Record):
    """The coordinator's state and that of its parts."""

    status: str
    version: str
    environment: str | None = None
    timestamp: str | None = None
    services: dict[str, str] | None = None


class Validation(Record):
    """What the coordinator says about a request: `errors` it would be refused for, `warnings` worth knowing before.

    Each has a `field` (a dotted path) and a `message`.
    """

    valid: bool
    errors: list[Record]
    warnings: list[Record]


class ServiceList(Record):
    """Services that can be asked for."""

    services: list[Record]


class Offer(Record):
    """A miner's price for each metered unit of jobs of a type or name. A `standing` one has neither a limit nor an end."""

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
    """Offers. Where there are more of one's own, `next` is what to ask for them with."""

    offers: list[Offer]
    next: str | None = None


class MarketStats(Record):
    """The whole market. `average_completion_time` is seconds from a miner getting a job to its result."""

    total_jobs: int
    active_jobs: int
    completed_jobs: int
    failed_jobs: int
    average_completion_time: float
    total_volume: str
    active_miners: int


class MinerStats(Record):
    """What a miner has done. `reputation` is 0 to 5, `success_rate` 0 to 1, `average_completion_time` in seconds."""

    miner_id: str
    reputation: float
    total_jobs: int
    success_rate: float
    average_completion_time: float
    total_earned: str
    active_since: str


class Wallet(Record):
    """Decimal strings: what can be spent (a miner's: was earned), and what is held for unfinished jobs."""

    balance: str
    held: str
    account_id: str | None = None
    miner_id: str | None = None


class Transaction(Record):
    """A credit or the payment of a job. `status` is pending, settled or refunded; amounts are decimal strings."""

    transaction_id: str
    status: str
    created_at: str
    type: str | None = None
    amount: str | None = None
    job_id: str | None = None
    offer_id: str | None = None
    miner_id: str | None = None
    price: str | None = None
    held: str | None = None
    fee: str | None = None
    refunded: str | None = None
    settled_at: str | None = None


class TransactionList(Record):
    """Transactions, the newest first. Where there are more, `next` is what to ask for them with."""

    transactions: list[Transaction]
    next: str | None = None
