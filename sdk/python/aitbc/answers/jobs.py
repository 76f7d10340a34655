"""Answers about jobs, and their events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from aitbc.answers import fields
from aitbc.answers.fields import example
from aitbc.answers.record import AnswerPart, Record
from aitbc.outputs import OutputFile, output_files
from aitbc.reasons import CanRun, ReasonCode, Who

JobState = Literal["submitted", "running", "completed", "failed", "cancelled"]


class JobError(AnswerPart):
    """Why a job failed."""

    code: str = Field(examples=["INPUT_INVALID"])
    message: str = Field(examples=["The file is not a video."])


class Reason(Record):
    """A reason why a job does not run: what and by how much, who can change it, and how."""

    code: ReasonCode = Field(examples=["PRICE_ABOVE_MAX_COST"])
    message: str = Field(
        examples=["One token costs at least 0.001, which is 0.0009 more than the job's max_cost of 0.0001."]
    )
    who: Who = Field(description="Who can change it; `time`: it ends on its own", examples=["client"])
    action: str = Field(
        description="What to do",
        examples=[
            "Submit the job again with pricing.max_cost of at least 0.001; it is the limit for the whole job."
        ],
    )
    details: dict[str, Any] = Field(
        description="Figures for programs, which depend on the code (docs/reference/waiting.md)",
        examples=[{"max_cost": "0.0001", "lowest_price": "0.001", "missing": "0.0009", "unit": "token"}],
    )


class JobWaiting(AnswerPart):
    """The notice that a job waits for long, and why."""

    summary: str = Field(
        examples=["One token costs at least 0.001, which is 0.0009 more than the job's max_cost of 0.0001."]
    )
    can_run: CanRun = Field(examples=["never"])
    reasons: list[Reason]


class OfferedJob(Record):
    """The offer in an answer about a job."""

    offer_id: fields.OfferId | None = None


class LabelledJob(Record):
    """The labels in an answer about a job."""

    labels: dict[str, str] | None = Field(default=None, description="Present if there are any")


class SealedJob(AnswerPart):
    """The part of a sealed job that is in clear, with which its client finds the key for the answer."""

    version: int = Field(examples=[1])
    key_id: str = Field(description="The miner's key", examples=["9f86d081884c7d659a2feaa0c55ad015"])
    request_id: str = Field(examples=["2feaa0c55ad0159f86d081884c7d659a"])
    reply_key: str = Field(description="The client's X25519 key, base64", examples=["base64_public_key"])
    model: str | None = Field(examples=["tiny.en"])
    adapters: list[str] = Field(examples=[[]])


class OpaqueJob(Record):
    """The part of a sealed job that is in clear, in the answer about it."""

    sealed: SealedJob | None = Field(
        default=None, description="Present for a sealed job, whose parameters only its miner can read"
    )


class JobAudit(AnswerPart):
    """The audit of a job, of which `GET /v1/jobs/{job_id}/audit` has the whole."""

    audit_id: str = Field(examples=["audit_1234567890"])
    status: Literal["waiting", "running", "decided"] = Field(examples=["decided"])
    verdict: Literal["pass", "fail", "unproven"] | None = Field(default=None, examples=["pass"])


class AuditedJob(Record):
    """The audit in a job's details."""

    audit: JobAudit | None = Field(default=None, description="Present if another miner checks the result")


class PlainJob(Record):
    """A job, without what features add to it, and without what it was asked to do."""

    needs = ("job_id", "status")

    job_id: fields.JobId
    status: JobState
    progress: fields.Percentage
    type: str = Field(description="The type as the request wrote it")
    service_id: fields.ServiceId
    name: str = Field(description="As given, or derived from its file or prompt")
    created_at: fields.Time
    attempts: int = Field(description="Number of runs that have begun")
    max_attempts: int = Field(description="The highest number of runs")
    started_at: fields.Time | None = None
    estimated_completion: fields.Time | None = None
    completed_at: fields.Time | None = None
    failed_at: fields.Time | None = None
    cancelled_at: fields.Time | None = None
    account_id: fields.AccountId | None = Field(default=None, description="The account that owns the job")
    miner_id: fields.MinerId | None = None
    cost: fields.Amount | None = Field(
        default=None,
        description="Amount paid for a job that has ended; the rest of its max_cost was refunded",
    )
    error: JobError | None = Field(default=None, description="Present for a failed job")
    last_failure: JobError | None = Field(
        default=None, description="Why the last run ended, while the job waits for the next one"
    )
    missing_files: list[str] | None = Field(default=None, description="Files that are still to be uploaded")
    waiting: JobWaiting | None = Field(
        default=None, description="Only in the one event that notifies a client that its job waits for long"
    )

    @property
    def is_final(self) -> bool:
        """Whether the job has ended, so that its state can no longer change."""
        return self.status in {"completed", "failed", "cancelled"}


class JobInput(AnswerPart):
    """A file that a job reads: an artifact, a text in the request, or an address, of which the query is left out.

    `size` is in bytes; an address has none, and neither has an artifact that was deleted.
    """

    field: str = Field(description="Where the input names it, with dots", examples=["audio_url"])
    name: str = Field(description="Its file name, or else the field", examples=["interview.mp3"])
    artifact_id: fields.ArtifactId | None = None
    url: str | None = Field(default=None, examples=[None])
    size: int | None = Field(default=None, examples=[1048576])


class RequestedJob(PlainJob):
    """A job with what it was asked to do, without what features add to it."""

    parameters: dict[str, Any] = Field(
        description="The service's input, without fields that have their default. Queries of addresses are left out: they may be secret"
    )
    inputs: list[JobInput]


class Job(OfferedJob, LabelledJob, OpaqueJob, AuditedJob, RequestedJob):
    """The state of a job. Fields that do not apply are None; lists are without `parameters` and `inputs`.

    `waiting` is only in the one event that notifies its client that the job waits for long. While the job waits for its next run,
    `last_failure` says why the last one ended.
    """


class ServiceJob(Job):
    """The created job of a call and, if the call waited for its end, the `results`."""

    results: dict[str, Any] | None = None


class JobList(Record):
    """One page of jobs. `total` is the number of all matching jobs."""

    jobs: list[Job]
    total: int
    limit: int
    offset: int


class JobDataDeleted(Record):
    """A job whose data was deleted. Its receipt and its payment remain."""

    job_id: fields.JobId
    deleted_at: fields.Time


class _Opened(Record):
    """What the client itself says about an answer that may have been sealed."""

    @property
    def opened(self) -> bool:
        """Whether this client sealed the job, and this is what the miner to which it did so sealed in return.

        If not, the coordinator may have read or exchanged it.
        """
        return bool(self.get("opened", False))

    @property
    def caution(self) -> str | None:
        """Why an answer that was sealed need not be that of the job."""
        return self.get("caution")


class JobResults(_Opened):
    """The results of a completed job. Their form is defined by the job's service."""

    model_config = example(
        {
            "job_id": "job_1234567890",
            "status": "completed",
            "results": {"prediction": "cat", "confidence": 0.95, "processing_time": 1.23, "units": 1.5},
            "completed_at": "2024-01-01T12:04:00Z",
        }
    )

    needs = ("job_id", "status", "results")

    job_id: fields.JobId
    status: Literal["completed"]
    results: dict[str, Any]
    completed_at: fields.Time

    def output_files(self) -> tuple[OutputFile, ...]:
        """Return the files in the results. Download them with `artifacts.download(file.artifact_id, ...)`."""
        return output_files(self.results)


class MinerReasons(Record):
    """The reasons of one miner. Without any, it can run the job now."""

    miner_id: fields.MinerId
    name: str = Field(examples=["rig-1"])
    reasons: list[ReasonCode] = Field(examples=[["PRICE_ABOVE_MAX_COST"]])


class JobExplanation(Record):
    """Why a job does not run, or that it runs or has ended. The most important reason is the first."""

    job_id: fields.JobId
    status: JobState = Field(examples=["submitted"])
    summary: str = Field(
        description="One sentence for people",
        examples=["One token costs at least 0.001, which is 0.0009 more than the job's max_cost of 0.0001."],
    )
    can_run: CanRun = Field(
        description="`now`: it runs or starts immediately; `later`: once the reasons end; `never`: not as it is on any known miner",
        examples=["never"],
    )
    reasons: list[Reason]
    position: int | None = Field(
        description="Position in the queue of the miners that can run it, 1 for the next; null: it is in no queue",
        examples=[None],
    )
    ahead: int | None = Field(description="Number of jobs that come first", examples=[None])
    estimated_start: fields.Time | None = Field(
        description="Null without measured durations to derive it from", examples=[None]
    )
    miners: list[MinerReasons] = Field(
        description="Known miners, the one nearest to running the job first; at most 50"
    )
    submitted_at: fields.Time | None = Field(default=None, examples=["2024-01-01T12:00:00Z"])
    started_at: fields.Time | None = Field(
        default=None, description="When the latest run began; null: none has", examples=[None]
    )
    finished_at: fields.Time | None = Field(default=None, examples=[None])


class JobLogEntry(Record):
    """One line that a run wrote. `source` is the program or stream; `attempt` counts the job's runs from 1."""

    time: fields.Time
    attempt: int = Field(ge=1, examples=[1])
    source: str = Field(examples=["stdout"])
    text: str = Field(examples=["loading the model"])


class JobLog(_Opened):
    """What the runs of a job wrote, oldest first. `truncated`: the log was longer, and lines are missing."""

    needs = ("job_id", "entries", "truncated")

    job_id: fields.JobId
    entries: list[JobLogEntry]
    truncated: bool = Field(examples=[False])

    def __str__(self) -> str:
        return "\n".join(entry.text for entry in self.entries)


class LabelCount(Record):
    """A label and the number of jobs that have it."""

    key: str = Field(examples=["project"])
    value: str = Field(examples=["podcast"])
    jobs: int = Field(examples=[12])


class LabelCounts(Record):
    """The labels of jobs, those of most jobs first. `more`: there are further ones beyond the limit."""

    labels: list[LabelCount]
    more: bool = Field(examples=[False])


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
