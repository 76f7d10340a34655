"""Answers about jobs that the kernel composes with the fields of features, or that only this server constructs, and parts of several answers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from agent.coordinator import job_fields
from aitbc.answers import fields
from aitbc.answers.fields import Answer, example
from aitbc.answers.jobs import JobError, JobState, PlainJob, RequestedJob
from aitbc.answers.registry import SaleUnit
from runners.api import ServiceDefinition


def sale_units(definition: ServiceDefinition | None, device_kind: str) -> list[SaleUnit]:
    """Return what people count and buy the work of a service by on a device of this kind; nothing for a service that only the miner knows."""
    return [
        SaleUnit(
            name=sale_unit.name,
            plural=sale_unit.plural,
            detail=sale_unit.detail,
            units=f"{sale_unit.units:f}",
        )
        for sale_unit in (() if definition is None else definition.sale_units_on(device_kind))
    ]


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
    status: JobState
    created_at: fields.Time
    estimated_completion: fields.Time | None = Field(
        default=None, description="Absent while no known miner can take the job"
    )
    service_id: fields.ServiceId | None = Field(default=None, description="Present for a service call")
    missing_files: list[str] | None = Field(default=None, description="Files that are still to be uploaded")
    results: dict[str, Any] | None = None
    error: JobError | None = None


class JobStatus(job_fields.StatusFields, PlainJob):
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


class JobDetails(job_fields.Details, job_fields.StatusFields, RequestedJob):
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
