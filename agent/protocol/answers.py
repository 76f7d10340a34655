"""The answers of the miner protocol (docs/reference/miner-protocol.md), as `messages` has its requests."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from agent.core.jobs import JobState
from agent.core.tracing import TRACE_ID
from agent.core.values import fields
from agent.core.values.fields import Answer


class Challenge(Answer):
    """A nonce to sign; good once, for a minute."""

    nonce: str = Field(examples=["kq9Jq1c0Yb7mZ2vW4tXs8RfLpN3aHdGe"])
    origin: str = Field(description="Name of the coordinator's log", examples=["log.example.org"])
    expires_at: fields.Time


class Admission(Answer):
    """Whether a registration would be taken, and if not, why; nothing is spent by asking."""

    admitted: bool
    reason: str | None = Field(examples=[None])


class SessionSettings(Answer):
    """The coordinator's rhythm, in seconds."""

    lease_seconds: float = Field(examples=[60])
    heartbeat_seconds: float = Field(examples=[15])
    poll_seconds: float = Field(examples=[30])


class HeldLease(Answer):
    """A lease by its job and fence."""

    job_id: fields.JobId
    fence: int = Field(ge=1, examples=[3])


class Registered(Answer):
    """A new session. `api_key` is the owner's, told only the first time; `keep` are leases that the session keeps."""

    miner_id: fields.MinerId
    session: int = Field(ge=1, examples=[4])
    session_token: str = Field(examples=["session.miner_1234567890.4.secret"])
    log_key: fields.LogKey
    origin: str = Field(examples=["log.example.org"])
    api_key: str | None = Field(examples=[None])
    settings: SessionSettings
    keep: list[HeldLease]


class CheckpointFile(Answer):
    """A file that an earlier run of the job handed over, to resume from; `size` in bytes."""

    artifact_id: fields.ArtifactId
    name: str = Field(examples=["frame_0007.png"])
    media_type: str = Field(examples=["image/png"])
    size: int = Field(ge=0, examples=[123])
    extra: dict[str, Any] = Field(examples=[{"frame": 7}])


class Lease(Answer):
    """The right to run a job until `lease_expires_at`, renewed by heartbeats. `spec_digest` is the SHA-256 of `spec`."""

    job_id: fields.JobId
    fence: int = Field(ge=1, examples=[4])
    attempt: int = Field(ge=1, examples=[1])
    service: str = Field(examples=["video_transcoding"])
    spec_digest: fields.Sha256
    unit_price: fields.Amount
    max_cost: fields.Amount
    assigned_at: fields.Time
    lease_expires_at: fields.Time
    deadline: fields.Time
    spec: dict[str, Any] = Field(
        examples=[
            {
                "job_id": "job_1234567890",
                "service": "video_transcoding",
                "name": "video-transcoding",
                "model": None,
                "parameters": {"input_url": "https://example.com/video.mp4", "output_format": "mp4"},
                "files": {"input_url": "https://example.com/video.mp4"},
                "resources": {"cpu": "1000m"},
                "timeout_seconds": 3600,
            }
        ]
    )
    checkpoints: list[CheckpointFile] = Field(examples=[[]])
    trace_id: str = Field(
        description="The id of the job in all logs (docs/reference/logging.md)",
        pattern=TRACE_ID,
        examples=["4bf92f3577b34da6a3ce929d0e0e4736"],
    )


class Polled(Answer):
    """What has come for the miner: leases, and leases that are void."""

    leases: list[Lease]
    cancelled: list[HeldLease] = Field(examples=[[]])
    heartbeat: bool | None = Field(default=None, description="Send a heartbeat now: there are commands")


class LeaseAnswer(Answer):
    """What has become of a lease: `lost` means that it is not this session's any more."""

    job_id: fields.JobId
    fence: int = Field(ge=1, examples=[4])
    status: Literal["renewed", "cancelled", "lost"]
    lease_expires_at: fields.Time | None = Field(
        default=None, description="Of a renewed one", examples=["2024-01-01T12:01:00Z"]
    )


class Command(Answer):
    """What the miner is wished to do; with `command_id` by its owner, who waits for it under `executed` of a heartbeat."""

    command_id: fields.CommandId | None = None
    command: Literal["pause", "resume", "fetch_model", "remove_model"] = Field(examples=["fetch_model"])
    gpu: str | None = Field(default=None, description="Its uuid; without, the whole miner")
    seconds: float | None = Field(default=None, description="How long a pause lasts; without, until resumed")
    model: str | None = Field(default=None, examples=["tiny"])


class HeartbeatAnswer(Answer):
    """What has become of each lease, and what the miner is wished to do."""

    leases: list[LeaseAnswer]
    commands: list[Command] = Field(examples=[[]])


class Delivered(Answer):
    """A result was taken."""

    job_id: fields.JobId
    status: Literal["completed"]
    receipt_id: fields.ReceiptId


class RunEndedAnswer(Answer):
    """A run was ended; `status` is where its job stands now."""

    job_id: fields.JobId
    status: JobState
