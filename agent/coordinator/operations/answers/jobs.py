"""Answers about jobs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from agent.coordinator import job_fields
from agent.core.reasons import CanRun, ReasonCode, Who
from agent.core.values import fields
from agent.core.values.fields import Answer, example

Status = Literal["submitted", "running", "completed", "failed", "cancelled"]


class JobError(Answer):
    """Why a job failed."""

    code: str = Field(examples=["INPUT_INVALID"])
    message: str = Field(examples=["The file is not a video."])


class JobCreated(Answer):
    """A new job. With `Prefer: wait=N` it may already have ended, and then has `results` or an `error`."""

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
    estimated_completion: fields.Time | None = Field(
        default=None, description="Absent while no known miner can take the job"
    )
    service_id: fields.ServiceId | None = Field(default=None, description="Present for a service call")
    missing_files: list[str] | None = Field(default=None, description="Files that are still to be uploaded")
    results: dict[str, Any] | None = None
    error: JobError | None = None


class JobReason(Answer):
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


class JobWaiting(Answer):
    """The notice that a job waits for long, and why."""

    summary: str = Field(
        examples=["One token costs at least 0.001, which is 0.0009 more than the job's max_cost of 0.0001."]
    )
    can_run: CanRun = Field(examples=["never"])
    reasons: list[JobReason]


class _Status(Answer):
    job_id: fields.JobId
    status: Status
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


class JobStatus(job_fields.StatusFields, _Status):
    """A job. Fields that do not apply are omitted."""

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
            "max_attempts": 3,
            "started_at": "2024-01-01T12:01:00Z",
            "estimated_completion": "2024-01-01T12:05:00Z",
            "miner_id": "miner_1234567890",
        }
    )


class JobInput(Answer):
    """A file that a job reads: an artifact, a text in the request, or an address, of which the query is left out.

    `size` is in bytes; an address has none, and neither has an artifact that was deleted.
    """

    field: str = Field(description="Where the input names it, with dots", examples=["audio_url"])
    name: str = Field(description="Its file name, or else the field", examples=["interview.mp3"])
    artifact_id: fields.ArtifactId | None = None
    url: str | None = Field(default=None, examples=[None])
    size: int | None = Field(default=None, examples=[1048576])


class JobDetails(job_fields.Details, JobStatus):
    """A job with what it was asked to do. Fields that do not apply are omitted."""

    model_config = example(
        {
            "job_id": "job_1234567890",
            "status": "running",
            "progress": 75,
            "type": "whisper_transcription",
            "service_id": "whisper_transcription",
            "name": "interview.mp3",
            "labels": {"project": "podcast"},
            "created_at": "2024-01-01T12:00:00Z",
            "attempts": 1,
            "max_attempts": 3,
            "started_at": "2024-01-01T12:01:00Z",
            "estimated_completion": "2024-01-01T12:05:00Z",
            "miner_id": "miner_1234567890",
            "parameters": {
                "audio_url": "artifact:sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                "language": "en",
            },
            "inputs": [
                {
                    "field": "audio_url",
                    "name": "interview.mp3",
                    "artifact_id": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                    "size": 1048576,
                }
            ],
        }
    )

    parameters: dict[str, Any] = Field(
        description="The service's input, without fields that have their default. Queries of addresses are left out: they may be secret"
    )
    inputs: list[JobInput]


class JobDataDeleted(Answer):
    """A job whose data was deleted. Its receipt and its payment remain."""

    job_id: fields.JobId
    deleted_at: fields.Time


class JobPage(Answer):
    """Jobs, newest first, and their total number."""

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
                    "max_attempts": 3,
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
    """The results of a completed job. Their form is defined by the job's service."""

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
