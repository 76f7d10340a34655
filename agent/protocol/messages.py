"""The requests of the miner protocol (docs/reference/miner-protocol.md), validated where they arrive."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    StrictInt,
    ValidationError,
    field_validator,
    model_validator,
)

from agent import __version__
from agent.core.errors import VersionMismatch
from agent.core.matching import Batch
from agent.core.values.quantities import UNIT_DECIMALS, Money
from agent.core.versions import version_problem
from aitbc.answers.fields import example
from runners.plain_json import MAX_DEPTH, check_json

Fence = Annotated[int, Field(ge=1, le=2**53 - 1, examples=[4])]
Percent = Annotated[float, Field(ge=0, le=100)]
Units = Annotated[Decimal, Field(ge=0, max_digits=30, decimal_places=UNIT_DECIMALS, strict=False)]
MAX_LEASES: Final = 256
"""Limit of leases in a heartbeat, and so of the leases of a miner."""
MAX_SLOTS: Final = 256
MAX_VERSIONS: Final = 16
"""Limit of the engines of a service."""
MAX_SERVICES: Final = 64
MAX_EVENT: Final = 256 * 1024
MAX_EXTRA: Final = 1024
MAX_MESSAGE: Final = 4000
"""Characters of a failure's message, which reaches the client: enough for the end of a traceback."""
MAX_EVIDENCE: Final = 2**20
"""Bytes of JSON that a miner may return with a result for a later audit: about 20,000 tokens of a language model."""
MAX_LINE: Final = 4096
"""Characters of a line in a job's log."""
MAX_LINES: Final = 10_000
MAX_MOMENT: Final = 2**37
"""Seconds since the epoch, until the year 6325. Later moments cannot be written as dates."""
MAX_NAME: Final = 200
ShortText = Annotated[str, Field(max_length=MAX_NAME)]
Measured = Annotated[float, Field(allow_inf_nan=False)]
LongText = Annotated[str, Field(max_length=4000)]
SignedAmount = Annotated[str, Field(pattern=r"^-?\d{1,15}(\.\d{1,8})?$")]


def shallow(value: dict[str, Any], depth: int = MAX_DEPTH) -> dict[str, Any]:
    """Return the value. Raise `ValueError` for nesting too deep for programs that write JSON."""
    # Level by level and not by recursion, since the depth is a stranger's.
    level: list[Any] = [value]
    for _ in range(depth):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return value
    raise ValueError(f"it is nested more than {depth} levels deep")


JsonObject = Annotated[dict[str, Any], AfterValidator(shallow)]
"""Arbitrary JSON of a miner's programs. It is stored and sent on, so its nesting is limited."""
JobId = Annotated[str, Field(pattern=r"^job_[0-9A-Za-z_-]{1,64}$", examples=["job_1234567890"])]


class _Message(BaseModel, defer_build=True):
    # Unknown fields are ignored: a newer miner may send more than this coordinator understands.
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class Gpu(_Message):
    """One GPU; sizes in bytes."""

    uuid: ShortText
    index: int
    name: ShortText
    memory_total: Annotated[int, Field(ge=0)]
    memory_free: Annotated[int, Field(ge=0)]
    compute_capability: ShortText | None = None
    driver: ShortText | None = None


class Score(_Message):
    """The result of a benchmark: `value` in `metric` ("token/s")."""

    metric: ShortText
    value: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    device: ShortText | None = None


class Service(_Message):
    """A service that a miner offers.

    `version` is the runner's with that of its best engine, and `versions` are those with all engines: a statement names one of them.
    `concurrency` is how many jobs of one model one slot computes together, `gpus` how many GPUs one job can use; `unavailable_models` are models for which it
    accepts no jobs at present, and `paused` is why it accepts none at all.
    """

    runner: ShortText
    version: ShortText
    versions: Annotated[list[ShortText], Field(max_length=MAX_VERSIONS)] = []
    models: Annotated[list[ShortText], Field(max_length=1000)] = []
    loaded: Annotated[list[ShortText], Field(max_length=1000)] = []
    downloadable: bool = False
    unit_price: Money
    features: JsonObject = {}
    concurrency: Annotated[int, Field(ge=1, le=MAX_SLOTS)] = 1
    gpus: Annotated[int, Field(ge=1, le=64)] = 1
    unavailable_models: Annotated[list[ShortText], Field(max_length=1000)] = []
    score: Score | None = None
    paused: ShortText | None = None


class ReportedSettings(_Message):
    """The settings that the owner can change from the coordinator, unless `locked` has a reason.

    `prices` are those of the settings, `default_prices` those without a setting, both by service. `engines` are the interpreters of each service, best first: an engine's name, or null for the agent's own environment.
    """

    locked: LongText | None = None
    prices: Annotated[dict[ShortText, Money], Field(max_length=1000)] = {}
    default_prices: Annotated[dict[ShortText, Money], Field(max_length=MAX_SERVICES)] = {}
    schedule: Annotated[list[ShortText], Field(max_length=100)] = []
    preferred: Annotated[list[ShortText], Field(max_length=100)] = []
    engines: Annotated[dict[ShortText, list[ShortText | None]], Field(max_length=MAX_SERVICES)] = {}


class PublishedKey(_Message):
    """A key to which clients seal jobs, as the miner signed it (DSSE), and what its machine attests about it."""

    envelope: JsonObject
    attestation: JsonObject | None = None


class SelftestCard(_Message):
    """The figures of a card in a self-test, by name: bytes, bytes per second, MHz, watts, degrees Celsius, and the speeds of services."""

    uuid: ShortText
    figures: Annotated[dict[ShortText, Measured], Field(max_length=64)] = {}


class Selftest(_Message):
    """A miner's latest self-test, as it reports it: `passed` or `failed`, and when it began (seconds since the epoch).

    `problems` are messages for people, `figures` those of the machine itself.
    """

    verdict: ShortText
    began_at: Annotated[float, Field(ge=0, le=MAX_MOMENT)]
    seconds: Measured
    agent_version: ShortText
    problems: Annotated[list[LongText], Field(max_length=100)] = []
    figures: Annotated[dict[ShortText, Measured], Field(max_length=64)] = {}
    cards: Annotated[list[SelftestCard], Field(max_length=64)] = []


class Capabilities(_Message):
    """A miner's capabilities; sizes in bytes. `sandbox` isolates programs that read untrusted files: bubblewrap, landlock or none."""

    services: Annotated[dict[ShortText, Service], Field(max_length=MAX_SERVICES)]
    unavailable: Annotated[dict[ShortText, list[LongText]], Field(max_length=64)] = {}
    cpu_cores: Annotated[int, Field(ge=1)]
    memory: Annotated[int, Field(ge=0)]
    disk_free: Annotated[int, Field(ge=0)] = 0
    gpus: Annotated[list[Gpu], Field(max_length=64)] = []
    slots: Annotated[int, Field(ge=1, le=MAX_SLOTS)]
    sandbox: ShortText | None = None
    settings: ReportedSettings | None = None
    encryption_keys: Annotated[list[PublishedKey], Field(max_length=8)] = []
    selftest: Selftest | None = None


class KeyProof(_Message):
    """Proof that the sender has a miner's private key: its signature over a nonce, as in a registration."""

    nonce: ShortText
    public_key: ShortText
    signature: ShortText


class AdmissionRequest(_Message):
    """`POST /v1/miners/admission`: a miner that would join, and its token.

    Without `proof` the answer is that for an unknown key.
    """

    model_config = example(
        {
            "proof": {
                "nonce": "kq9Jq1c0Yb7mZ2vW4tXs8RfLpN3aHdGe",
                "public_key": "base64_public_key",
                "signature": "base64_signature",
            },
            "enrolment_token": "enrol_secret",
        }
    )

    proof: KeyProof | None = None
    enrolment_token: ShortText | None = None


class Holding(_Message):
    """A lease that the miner holds: its run is in progress, or its result waits in the outbox."""

    job_id: JobId
    fence: Fence


class Registration(KeyProof):
    """`POST /v1/miners/register`."""

    model_config = example(
        {
            "nonce": "kq9Jq1c0Yb7mZ2vW4tXs8RfLpN3aHdGe",
            "public_key": "base64_public_key",
            "signature": "base64_signature",
            "name": "rig-1",
            "agent_version": "0.2.0",
            "enrolment_token": "enrol_secret",
            "capabilities": {
                "services": {
                    "whisper_transcription": {
                        "runner": "whisper",
                        "version": "0.1.0+20250625",
                        "models": ["tiny.en"],
                        "downloadable": True,
                        "unit_price": "0.0001",
                    }
                },
                "unavailable": {"video_transcoding": ["ffmpeg was not found; install it."]},
                "cpu_cores": 2,
                "memory": 25769803776,
                "disk_free": 85899345920,
                "slots": 1,
                "sandbox": "bubblewrap",
            },
            "holding": [],
        }
    )

    name: Annotated[str, Field(min_length=1, max_length=100)]
    agent_version: ShortText
    enrolment_token: ShortText | None = None
    capabilities: Capabilities
    holding: Annotated[list[Holding], Field(max_length=10_000)] = []

    @model_validator(mode="wrap")
    @classmethod
    def _version_first(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Validate. Raises `VersionMismatch` rather than complaints about fields that another version names differently."""
        try:
            return handler(values)
        except ValidationError:
            version = values.get("agent_version") if isinstance(values, dict) else None
            # Only now: a message that can be read needs no agreement about versions here, which the use case checks with better words.
            problem = version_problem(version, __version__) if isinstance(version, str) else None
            if problem is None:
                raise
            raise VersionMismatch(problem) from None


class BatchCapacity(_Message):
    """The free capacity of a running batch."""

    service: ShortText
    model: ShortText | None = None
    free: Annotated[int, Field(ge=0, le=MAX_SLOTS)]


class _FreeCapacity(_Message):
    """A miner's free capacity: slots, and running batches."""

    batch_capacity: Annotated[list[BatchCapacity], Field(max_length=MAX_SLOTS)] = []

    def free_by_batch(self) -> dict[Batch, int]:
        """Return the free capacity by service and model, which may have several batches."""
        free: Counter[Batch] = Counter()
        for batch in self.batch_capacity:
            free[batch.service, batch.model] += batch.free
        return free


class Poll(_FreeCapacity):
    """`POST /v1/miners/poll`; `wait` in seconds."""

    slots: Annotated[int, Field(ge=0, le=MAX_SLOTS, examples=[1])]
    wait: Annotated[float, Field(ge=0, le=60, examples=[30])] = 0


class SlotsMessage(_FreeCapacity):
    """`{"call": "slots"}` on the WebSocket: the free capacity after `received` leases of this connection."""

    slots: Annotated[StrictInt, Field(ge=0)]
    received: Annotated[StrictInt, Field(ge=0)]


class NotUnderstood(_Message):
    """`{"call": "not_understood"}` on the WebSocket: a push of the coordinator that this miner's version does not know or cannot read."""

    message: ShortText
    agent_version: ShortText
    reason: ShortText = ""


class LeaseProgress(_Message):
    """One lease in a heartbeat. Without `units`, the last reported ones remain."""

    job_id: JobId
    fence: Fence
    progress: Percent = 0
    counter: int = 0
    units: Units | None = None


class Telemetry(_Message):
    """The state of one GPU; memory in bytes, utilization in percent, temperature in degrees Celsius, power in watts.

    `paused` is the reason why it accepts no jobs.
    """

    uuid: ShortText
    memory_free: Annotated[int, Field(ge=0)] | None = None
    memory_total: Annotated[int, Field(ge=0)] | None = None
    utilization: Measured | None = None
    temperature: Measured | None = None
    power: Measured | None = None
    power_limit: Measured | None = None
    paused: ShortText | None = None


class TimeShare(_Message):
    """A share of a miner's last hour: `working`, or the reason for being idle."""

    reason: ShortText
    share: Annotated[float, Field(ge=0, le=1)]


class ModelDownload(_Message):
    """A model that the miner is downloading, in bytes; `total` is null while unknown."""

    model: ShortText
    done: Annotated[int, Field(ge=0)]
    total: Annotated[int, Field(ge=0)] | None = None


class ReportedPeriod(_Message):
    """What a miner has earned, and consumed for it, in a UTC day or month. Money is in credits; null if its electricity has no known price."""

    period: ShortText
    jobs: Annotated[int, Field(ge=0)] = 0
    kwh: Measured = 0.0
    idle_kwh: Measured = 0.0
    earned: SignedAmount = "0"
    electricity: SignedAmount | None = None
    net: SignedAmount | None = None


class ReportedLoss(_Message):
    """A model, or a service without models (null), that is not worth its electricity now, and why."""

    service: ShortText
    model: ShortText | None = None
    reason: LongText


class ReportedEnergy(_Message):
    """The price of a kilowatt-hour in the owner's currency, and what is left of the earnings. `problem`: why the price may be an old one."""

    price: Measured | None = None
    currency: ShortText | None = None
    problem: LongText | None = None
    today: ReportedPeriod
    month: ReportedPeriod
    unprofitable: Annotated[list[ReportedLoss], Field(max_length=1000)] = []


class Activity(_Message):
    """The use of a miner's capacity in the last hour, its downloads, and what it consumes if its owner wants that to be known."""

    idle: Annotated[list[TimeShare], Field(max_length=32)] = []
    downloads: Annotated[list[ModelDownload], Field(max_length=64)] = []
    energy: ReportedEnergy | None = None


class RefusedCommand(_Message):
    """A command that was refused for good, with the reasons."""

    command_id: ShortText
    reasons: Annotated[list[LongText], Field(max_length=20)]


class Heartbeat(_Message):
    """`POST /v1/miners/heartbeat`. `executed` are commands that were carried out or refused for good; `refused` has the latter's reasons."""

    leases: Annotated[list[LeaseProgress], Field(max_length=MAX_LEASES)] = []
    gpus: Annotated[list[Telemetry], Field(max_length=64)] = []
    capabilities: Capabilities | None = None
    paused: ShortText | None = None
    activity: Activity | None = None
    executed: Annotated[list[ShortText], Field(max_length=1000)] = []
    refused: Annotated[list[RefusedCommand], Field(max_length=100)] = []


class RunEvent(_Message):
    """An event that a runner emits during a run."""

    kind: Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")]
    data: JsonObject = {}

    @field_validator("data")
    @classmethod
    def _bounded(cls, value: dict[str, Any]) -> dict[str, Any]:
        if len(json.dumps(value)) > MAX_EVENT:
            raise ValueError(f"an event may have at most {MAX_EVENT} bytes; store larger data as an artifact")
        return value


class LogLine(_Message):
    """A line of a job's log: when it was written, in seconds since the epoch by the coordinator's clock, by what, and its text."""

    time: Annotated[float, Field(ge=0, le=2**40, allow_inf_nan=False, examples=[1704110400.5])]
    source: Annotated[str, Field(max_length=32, examples=["stdout"])]
    text: Annotated[str, Field(max_length=MAX_LINE, examples=["loading the model"])]


class RunLog(_Message):
    """Lines that a run has written for its job's client. `truncated`: others were dropped."""

    entries: Annotated[list[LogLine], Field(max_length=MAX_LINES)]
    truncated: bool = False


class RunProgress(_Message):
    """The data of a `progress` event. Without `units`, the last reported ones remain."""

    progress: Percent
    units: Units | None = None


class RunEvents(_Message):
    """`POST /v1/miners/jobs/{job_id}/events`. `log` has the lines since the message before."""

    fence: Fence
    events: Annotated[
        list[RunEvent],
        Field(max_length=1000, examples=[[{"kind": "progress", "data": {"progress": 41, "units": "12.9"}}]]),
    ]
    log: RunLog | None = Field(default=None, examples=[None])


class OutputArtifact(_Message):
    """An output file that is already stored; `size` in bytes."""

    artifact_id: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    name: ShortText
    media_type: ShortText
    size: Annotated[int, Field(ge=0)]


class RunOutput(OutputArtifact):
    """The data of an `output` event."""

    # A later run's miner creates a file of this name, so it is no path and does not consist of dots.
    name: Annotated[str, Field(max_length=200, pattern=r"^[^/\\\x00-\x1f]*[^./\\\x00-\x1f][^/\\\x00-\x1f]*$")]
    extra: JsonObject = {}

    @field_validator("extra")
    @classmethod
    def _small(cls, value: dict[str, Any]) -> dict[str, Any]:
        # Later leases contain it, so it must be valid JSON for sending.
        check_json(value)
        if len(json.dumps(value)) > MAX_EXTRA:
            raise ValueError(f"extra may have at most {MAX_EXTRA} bytes")
        return value


class RunResult(_Message):
    """`POST /v1/miners/jobs/{job_id}/result`. `log` is the whole log of the run.

    `evidence` is for a later audit. The statement contains the digest of its canonical JSON.
    """

    fence: Fence
    envelope: JsonObject = Field(
        description="DSSE",
        examples=[
            {
                "payloadType": "application/vnd.in-toto+json",
                "payload": "base64_statement",
                "signatures": [{"keyid": "", "sig": "base64_signature"}],
            }
        ],
    )
    results: dict[str, Any] = Field(examples=[{"text": "Hello", "processing_time": 1.23, "units": 1.5}])
    artifacts: Annotated[list[OutputArtifact], Field(max_length=10_000)] = []
    log: RunLog | None = Field(default=None, examples=[None])
    evidence: dict[str, Any] | None = Field(default=None, examples=[None])

    def problems(self) -> dict[str, str]:
        """Return what is wrong with the results and the evidence, by field. It takes long for large ones, so validation leaves it out."""
        errors: dict[str, str] = {}
        for name, value in (("results", self.results), ("evidence", self.evidence)):
            try:
                shallow(value or {})
            except ValueError as error:
                errors[name] = str(error)
        if self.evidence is not None and not errors and len(json.dumps(self.evidence)) > MAX_EVIDENCE:
            errors["evidence"] = f"evidence may have at most {MAX_EVIDENCE} bytes"
        return errors


class RunFailure(_Message):
    """`POST /v1/miners/jobs/{job_id}/fail`. `kind` states the cause: the machine (`retry`) or the client (`fail`).

    `units` are those metered by the run, for which the client pays if it caused the failure; null: the last reported ones. `log` is
    the whole log of the run.
    """

    fence: Fence
    kind: Literal["retry", "fail"]
    code: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,63}$", examples=["MACHINE_FAULT"])]
    message: Annotated[str, Field(max_length=MAX_MESSAGE, examples=["The GPU ran out of memory."])]
    units: Units | None = None
    log: RunLog | None = Field(default=None, examples=[None])


class RunRelease(_Message):
    """`POST /v1/miners/jobs/{job_id}/release`."""

    fence: Fence
    reason: ShortText = Field(default="", examples=["shutdown"])
