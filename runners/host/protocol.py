"""The messages between a miner and a runner's child process, and their encoding.

A socket pair connects them. Each message is a frame: its length as four bytes, big-endian, then that many bytes of
JSON. The child reads blocking (`read_message`), the miner with asyncio (`receive`). Both use the same models, so that
neither can send a message that the other does not understand.
"""

from __future__ import annotations

import socket
import struct
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
)

from runners.api import Calibration, Device, Model, Tools
from runners.plain_json import FILE_KEY

if TYPE_CHECKING:
    from asyncio import StreamReader

MAX_FRAME = 16 * 2**20
"""Bytes of JSON in one frame. Results are small: what is large goes into files."""

_LENGTH = struct.Struct(">I")


UNIT_STEP = Decimal("0.000001")
"""Metered units have at most six decimals."""


def plain_units(units: Decimal) -> str:
    """Return a metered amount in wire form: "12.5", never "1.25E+1"; at most six decimals, rounded half to even.

    Raises `ValueError` for negative amounts, NaN and infinities.
    """
    if not units.is_finite() or units < 0:
        raise ValueError(f"metered units must be zero or more, not {units}")
    # Rounded before it is signed, so that miner, coordinator and client compute with the same amount.
    text = format(units.quantize(UNIT_STEP), "f")
    return text.rstrip("0").rstrip(".")


MAX_UNITS = Decimal(10) ** 20

Units = Annotated[Decimal, Field(ge=0, lt=MAX_UNITS), PlainSerializer(plain_units, return_type=str)]


Secret = Annotated[
    bytes,
    BeforeValidator(lambda value: b64decode(value) if isinstance(value, str) else value),
    PlainSerializer(lambda value: b64encode(value).decode(), return_type=str),
    Field(min_length=32, max_length=32),
]


class ProtocolError(Exception):
    """The other side sent an invalid message. The connection can no longer be used."""


class Message(BaseModel, defer_build=True):
    """Base of all messages; `type` identifies the kind of message."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Configure(Message):
    """First message to a child: this machine's programs and limits, and the device that the child is bound to."""

    type: Literal["configure"] = "configure"
    tools: Tools
    device: Device


class Load(Message):
    """Load this model, or with None prepare the runner for its first run; `vram` as in `Runner.vram`."""

    type: Literal["load"] = "load"
    model: Model | None
    vram: int | None = None


class AuditedRun(Message):
    """The work of another miner, with which a run is to be compared: see `runners.audits.Audited`.

    `mismatch` names a part of it that is not the signed one, so that there is nothing to compare.
    """

    results: dict[str, Any]
    statement: dict[str, Any]
    evidence: dict[str, Any] | None = None
    nonce: str = ""
    choice: str = ""
    answer: dict[str, Any] | None = None
    mismatch: str | None = None
    calibrations: list[Calibration] = []


class SealedRun(Message):
    """What a run needs to open its sealed request, and to seal its answer (docs/reference/sealed-jobs.md).

    `secret` is the request's, `answer` the answer's, whose `header` carries it to the client. `directory` is in memory; all plaintexts go
    there. `log_bytes` of text are what the sealed log may have.
    """

    secret: Secret = Field(repr=False)
    answer: Secret = Field(repr=False)
    header: dict[str, Any]
    ciphertext: str = Field(repr=False)
    directory: Path
    log_bytes: int = Field(ge=0)


class SaltedDigests(Message):
    """Salted digests of a sealed run's plaintexts, in hex; those of files in their order."""

    request: str
    results: str
    inputs: list[str]
    outputs: list[str]


class Run(Message):
    """Perform one job. `files` are fetched inputs by field; `output` and `work` are empty directories.

    With `audit` it is an audit: `files` also contain the audited output files, with the prefix `runners.audits.AUDIT_PREFIX`.
    Of a `sealed` run, `parameters` are empty, and `files` and `output` hold ciphertext.

    Several runs are active at the same time only if the runner is `concurrent`.
    """

    type: Literal["run"] = "run"
    run_id: str
    parameters: dict[str, Any]
    files: dict[str, Path] = {}
    adapters: dict[str, Model] = {}
    checkpoints: dict[str, Path] = {}
    output: Path
    work: Path
    resources: dict[str, str] = {}
    timeout_seconds: float = Field(gt=0)
    max_units: Decimal | None = Field(default=None, ge=0)
    trace_id: str | None = None
    seed: str | None = None
    cache_salt: str | None = Field(default=None, min_length=1)
    audit: AuditedRun | None = None
    sealed: SealedRun | None = None


class Cancel(Message):
    """Stop a run; ignored if it has ended."""

    type: Literal["cancel"] = "cancel"
    run_id: str


class Unload(Message):
    """Free the memory of the loaded model; the child continues."""

    type: Literal["unload"] = "unload"


class Exit(Message):
    """End the child after its active runs."""

    type: Literal["exit"] = "exit"


class RunnerIdentity(Message):
    """A runner's name and version, as in receipts."""

    name: str
    version: str


class Ready(Message):
    """The child has imported its runner and accepts work."""

    type: Literal["ready"] = "ready"
    runner: RunnerIdentity


class Loaded(Message):
    """A model is loaded. `vram` is the GPU memory of this process in bytes, 0 if unknown; `locked` its page-locked main memory."""

    type: Literal["loaded"] = "loaded"
    model: str | None
    seconds: float
    vram: int = Field(default=0, ge=0)
    locked: int = Field(default=0, ge=0)


class Unloaded(Message):
    """The runner has unloaded its model."""

    type: Literal["unloaded"] = "unloaded"


class Progress(Message):
    """Progress of a run (0 to 100) and the units metered so far."""

    type: Literal["progress"] = "progress"
    run_id: str
    progress: float = Field(ge=0, le=100)
    units: Units


class Event(Message):
    """An event for the job's subscribers: a token, a preview, a finished segment."""

    type: Literal["event"] = "event"
    run_id: str
    kind: str
    data: dict[str, Any]


class Log(Message):
    """A line about a run for the miner's log: an event and plain fields, never a client's input or results."""

    type: Literal["log"] = "log"
    run_id: str
    event: str = Field(pattern=r"^[a-z_]{1,64}$")
    fields: dict[
        Annotated[str, Field(pattern=r"^[a-z_]{1,32}$")],
        bool | int | float | Annotated[str, Field(max_length=200)] | None,
    ] = Field(default={}, max_length=16)


MAX_LINE = 4096
"""Characters of one line in a job's log; longer ones are sent as several."""


class LogLine(Message):
    """One line of a job's log. `time` is the miner's, in seconds since the epoch."""

    time: float
    source: str = Field(max_length=32)
    text: str = Field(max_length=MAX_LINE)


class JobLog(Message):
    """Lines for the job's log, which only its client reads. `dropped` lines before them came too fast to be sent."""

    type: Literal["job_log"] = "job_log"
    run_id: str
    lines: list[LogLine]
    dropped: int = Field(default=0, ge=0)


class Done(Message):
    """A run's results, with `{"$file": FileReference}` for each output file, and the metered units.

    `results` already contains `processing_time` and `units`, as numbers. `engine` is the version of the engine. `weights` are the model files that the run used;
    `vram` is the peak GPU memory of this process since it loaded the model.
    """

    type: Literal["done"] = "done"
    run_id: str
    results: dict[str, Any]
    units: Units
    processing_time: float
    evidence: dict[str, Any] | None = None
    engine: str = ""
    weights: list[Path] = []
    vram: int = Field(default=0, ge=0)
    sealed: SaltedDigests | None = None


class Error(Message):
    """A run (or, with `run_id` None, loading or unloading) ended without a result. The child remains usable."""

    type: Literal["error"] = "error"
    run_id: str | None
    kind: Literal["fail", "retry", "cancelled"]
    code: str
    message: str


class FileReference(Message):
    """An output file in results. `path` is relative to the run's output directory and contains no `..`."""

    path: str
    media_type: str
    name: str
    extra: dict[str, Any] = {}

    def below(self, output: Path) -> Path:
        """Return the file's path below the run's output directory. Raises `ProtocolError` if it is outside."""
        relative = PurePosixPath(self.path)
        if relative.is_absolute() or ".." in relative.parts or not relative.parts:
            raise ProtocolError("A result names a file outside the run's output directory.")
        return output / relative


class Checkpoint(Message):
    """A run hands over a file from which a later run can resume."""

    type: Literal["checkpoint"] = "checkpoint"
    run_id: str
    file: FileReference


ForChild: TypeAlias = Configure | Load | Run | Cancel | Unload | Exit
FromChild: TypeAlias = Ready | Loaded | Unloaded | Progress | Event | Checkpoint | Log | JobLog | Done | Error

ToChild = Annotated[ForChild, Field(discriminator="type")]
ToParent = Annotated[FromChild, Field(discriminator="type")]

LATER: Final = ConfigDict(defer_build=True)
"""Each process reads the messages of only one direction."""
TO_CHILD: TypeAdapter[ForChild] = TypeAdapter(ToChild, config=LATER)
TO_PARENT: TypeAdapter[FromChild] = TypeAdapter(ToParent, config=LATER)


def encode(message: Message) -> bytes:
    """Return the frame of a message. Raises `ProtocolError` if it would be too large."""
    body = message.model_dump_json().encode()
    if len(body) > MAX_FRAME:
        raise ProtocolError(f"A message of {len(body)} bytes is larger than the limit of {MAX_FRAME}.")
    return _LENGTH.pack(len(body)) + body


def _decode(adapter: TypeAdapter[Any], body: bytes) -> Any:
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()[:3]
        )
        raise ProtocolError(f"A frame is not a valid message: {problems}.") from None


def _length(header: bytes) -> int:
    length: int = _LENGTH.unpack(header)[0]
    if not 0 < length <= MAX_FRAME:
        raise ProtocolError(f"A frame has an invalid length of {length} bytes.")
    return length


def read_message(connection: socket.socket) -> ForChild | None:
    """Wait for the next message to the child; return None if the parent closed. Raises `ProtocolError`."""
    header = _read_exactly(connection, _LENGTH.size)
    if header is None:
        return None
    body = _read_exactly(connection, _length(header))
    if body is None:
        raise ProtocolError("The parent closed in the middle of a frame.")
    message: ForChild = _decode(TO_CHILD, body)
    return message


def _read_exactly(connection: socket.socket, count: int) -> bytes | None:
    received = bytearray()
    while len(received) < count:
        # A large frame arrives in pieces, and each call allocates what it asks for.
        chunk = connection.recv(min(count - len(received), 1 << 20))
        if not chunk:
            if received:
                raise ProtocolError("The parent closed in the middle of a frame.")
            return None
        received += chunk
    return bytes(received)


async def receive(stream: StreamReader) -> FromChild | None:
    """Wait for the next message from a child, without a time limit; return None if the child ended.

    Raises `ProtocolError`, after which the child should be ended.
    """
    from asyncio import IncompleteReadError  # noqa: PLC0415 - the child has no event loop

    try:
        header = await stream.readexactly(_LENGTH.size)
        body = await stream.readexactly(_length(header))
    except IncompleteReadError as error:
        if error.partial:
            raise ProtocolError("The child closed in the middle of a frame.") from None
        return None
    message: FromChild = _decode(TO_PARENT, body)
    return message


def file_references(results: Any) -> Iterator[FileReference]:
    """Yield the output files of `Done.results` in their order there. Raises `ProtocolError`."""
    if isinstance(results, dict):
        if FILE_KEY in results:
            yield _reference(results)
            return
        for item in results.values():
            yield from file_references(item)
    elif isinstance(results, list):
        for item in results:
            yield from file_references(item)


def replace_files(results: Any, replacement: Callable[[FileReference], Mapping[str, Any]]) -> Any:
    """Return a copy of `Done.results` in which `replacement` supplies the value of each output file."""
    if isinstance(results, dict):
        if FILE_KEY in results:
            reference = _reference(results)
            return {**reference.extra, **replacement(reference)}
        return {key: replace_files(item, replacement) for key, item in results.items()}
    if isinstance(results, list):
        return [replace_files(item, replacement) for item in results]
    return results


def _reference(marked: Mapping[str, Any]) -> FileReference:
    try:
        return FileReference.model_validate(marked[FILE_KEY])
    except ValidationError as error:
        raise ProtocolError(f"A file in the results is malformed: {error.error_count()} problems.") from None
