"""The coordinator's answers and pushes in the miner protocol (docs/reference/miner-protocol.md); `messages` has the requests."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from agent.core.jobs import JobState
from agent.core.tracing import TRACE_ID
from aitbc.answers import fields
from aitbc.answers.fields import Answer

MAX_COMMAND_ID: Final = 100
MAX_PAUSE_SECONDS: Final = 366 * 86400


class Challenge(Answer):
    """A nonce to sign, valid once, for a minute."""

    nonce: str = Field(examples=["kq9Jq1c0Yb7mZ2vW4tXs8RfLpN3aHdGe"])
    origin: str = Field(description="Name of the coordinator's log", examples=["log.example.org"])
    expires_at: fields.Time
    version: str | None = Field(
        default=None,
        description="The coordinator's. One that states it refuses miners whose version does not work with it",
        examples=["0.2.0"],
    )


class Admission(Answer):
    """Whether a registration would be accepted, and if not, why. The query spends no token."""

    admitted: bool
    reason: str | None = Field(examples=[None])


class SessionSettings(Answer):
    """The coordinator's intervals, in seconds."""

    lease_seconds: float = Field(gt=0, examples=[60])
    heartbeat_seconds: float = Field(gt=0, examples=[15])
    poll_seconds: float = Field(gt=0, examples=[30])


class HeldLease(Answer):
    """A lease by its job and fence."""

    job_id: fields.JobId
    fence: int = Field(ge=1, examples=[3])


class Registered(Answer):
    """A new session. `api_key` is the owner's, sent only the first time; `keep` are the leases that remain valid.

    With `engine_versions`, a statement may name any of the `versions` of an offer, else only its `version`. `fee_percent` is the
    operator's share of the prices of new jobs.
    """

    miner_id: fields.MinerId
    session: int = Field(ge=1, examples=[4])
    session_token: str = Field(min_length=1, repr=False, examples=["session.miner_1234567890.4.secret"])
    log_key: fields.LogKey
    origin: str = Field(examples=["log.example.org"])
    api_key: str | None = Field(repr=False, examples=[None])
    settings: SessionSettings
    keep: list[HeldLease]
    engine_versions: bool = False
    version: str | None = Field(default=None, description="The coordinator's", examples=["0.3.0"])
    fee_percent: Decimal = Field(default=Decimal(0), ge=0, le=100, examples=["2.5"])


class CheckpointFile(Answer):
    """A checkpoint of an earlier run of the job, to resume from; `size` in bytes."""

    artifact_id: fields.ArtifactId
    name: str = Field(examples=["frame_0007.png"])
    media_type: str = Field(examples=["image/png"])
    size: int = Field(ge=0, examples=[123])
    extra: dict[str, Any] = Field(examples=[{"frame": 7}])


class AuditedWork(BaseModel, defer_build=True):
    """The work of another miner that an audit checks: the results, the signed statement, the evidence, the audited lease's nonce.

    `answer` are known results to compare with.
    """

    model_config = ConfigDict(frozen=True)

    results: dict[str, Any]
    statement: dict[str, Any]
    evidence: dict[str, Any] | None = None
    nonce: str = ""
    answer: dict[str, Any] | None = None


class Spec(BaseModel, defer_build=True):
    """The specification of a job. `files` names its inputs by field, as addresses or as `{"inline": text}`.

    With `audit`, the job is an audit of a job with this specification. The audited output files are then inputs too: each
    under "audit:" and its name in the statement.
    A lease carries it as sent: its digest covers fields that this program does not know.
    """

    model_config = ConfigDict(frozen=True)

    # The miner makes it the name of a directory, so it must not lead out of its own.
    job_id: str = Field(pattern=r"^job_[0-9A-Za-z_-]{1,64}$")
    service: str
    model: str | None = None
    parameters: dict[str, Any] = {}
    files: dict[str, str | dict[str, Any]] = {}
    resources: dict[str, str] = {}
    audit: AuditedWork | None = None
    sealed: dict[str, Any] | None = None


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
    nonce: str | None = Field(
        default=None,
        description="Random bytes, hex: random choices of the run follow from them, so that an audit can repeat the choices",
        pattern=r"^[0-9a-f]{64}$",
        examples=["9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab"],
    )
    cache_salt: str | None = Field(
        default=None,
        description="Prompts that were computed for a lease may be reused only for leases with the same salt; without one, for none",
        pattern=r"^[0-9a-f]{64}$",
        examples=["0f6ee1a3d7c4e7cb0d0c4b1f2ac5f0a5a2de2f6a4d7b9a0f0a8f7f3f2a5b1c9d"],
    )


class Polled(Answer):
    """New leases for the miner, and cancelled ones."""

    leases: list[Lease]
    cancelled: list[HeldLease] = Field(examples=[[]])
    heartbeat: bool | None = Field(default=None, description="Send a heartbeat now: there are commands")


class LeaseAnswer(Answer):
    """The state of a lease. `lost` means that it no longer belongs to this session."""

    job_id: fields.JobId
    fence: int = Field(ge=1, examples=[4])
    status: Literal["renewed", "cancelled", "lost"]
    lease_expires_at: fields.Time | None = Field(
        default=None, description="Of a renewed one", examples=["2024-01-01T12:01:00Z"]
    )


class NewSettings(Answer):
    """Settings to change. Null removes a price, so that the default applies; a null list stays as it is."""

    prices: dict[str, fields.Amount | None] = Field(
        default={}, examples=[{"whisper_transcription": "0.0002"}]
    )
    schedule: list[str] | None = Field(default=None, examples=[["Mon-Fri 09:00-18:00"]])
    engines: list[str] | None = Field(default=None, examples=[["faster-whisper"]])


class Command(Answer):
    """A command for the miner. The coordinator waits for a `command_id` in a heartbeat's `executed`; without, it is a hint."""

    command_id: fields.CommandId | None = Field(default=None, max_length=MAX_COMMAND_ID)
    command: Literal["pause", "resume", "fetch_model", "remove_model", "change_settings"] = Field(
        examples=["fetch_model"]
    )
    gpu: str | None = Field(default=None, description="Its uuid; without, the whole miner")
    seconds: float | None = Field(
        default=None,
        gt=0,
        le=MAX_PAUSE_SECONDS,
        allow_inf_nan=False,
        description="How long a pause lasts; without, until resumed",
    )
    model: str | None = Field(default=None, examples=["tiny"])
    settings: NewSettings | None = Field(default=None, examples=[None])


class HeartbeatAnswer(Answer):
    """The state of each lease, and commands for the miner."""

    leases: list[LeaseAnswer]
    commands: list[Command] = Field(examples=[[]])


class Delivered(Answer):
    """A result was accepted."""

    job_id: fields.JobId
    status: Literal["completed"]
    receipt_id: fields.ReceiptId


class RunEndedAnswer(Answer):
    """A run has ended; `status` is the new state of its job."""

    job_id: fields.JobId
    status: JobState


class CallAnswer(Answer):
    """The answer to a call over the WebSocket: the call's number, and status and body of the same call over HTTP."""

    id: int
    status: int
    body: Any = None
