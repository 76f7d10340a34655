"""Why a run ends without results: the errors that a runner raises, and the codes that clients and operators see."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Final, Self


class Fault(StrEnum):
    """What caused a run to fail. Only `INPUT` is final; after any other fault another miner tries the job.

    `MACHINE` counts against the machine: repeated faults open its circuit breaker and lower its reputation. `CAPACITY` means
    that the job needs more memory than the machine has free, `MODEL` that a catalogue model cannot be used there, and
    `NEITHER` that the machine and the job do not match, or that a third party failed.
    """

    INPUT = "input"
    MACHINE = "machine"
    MODEL = "model"
    CAPACITY = "capacity"
    NEITHER = "neither"


class FailureCode(StrEnum):
    """The codes of failed runs. A runner of another package may use codes of its own.

    `meaning` is for people. `own_message` is true where the message never quotes the job, so that it may be logged.
    """

    fault: Fault
    meaning: str
    own_message: bool

    def __new__(cls, value: str, fault: Fault, meaning: str, own_message: bool = False) -> Self:  # noqa: D102 - see the class
        member = str.__new__(cls, value)
        member._value_ = value
        member.fault, member.meaning, member.own_message = fault, meaning, own_message
        return member

    @property
    def retried(self) -> bool:
        """Whether another miner tries the job again, up to the job's number of attempts."""
        return self.fault is not Fault.INPUT

    # The job's own fault.
    INPUT_INVALID = "INPUT_INVALID", Fault.INPUT, "An input file or a parameter cannot be used."
    INPUT_MISSING = "INPUT_MISSING", Fault.INPUT, "An input file is missing or was not uploaded in time."
    INPUT_REFUSED = "INPUT_REFUSED", Fault.INPUT, "No miner fetches a file from this address."
    INPUT_TOO_LARGE = "INPUT_TOO_LARGE", Fault.INPUT, "An input file is larger than the miner accepts."
    CONTEXT_OVERFLOW = (
        "CONTEXT_OVERFLOW",
        Fault.INPUT,
        "The prompt and `max_tokens` exceed the model's context.",
    )
    REQUIREMENTS_FAILED = (
        "REQUIREMENTS_FAILED",
        Fault.INPUT,
        "The Python model's requirements cannot be installed.",
    )
    MODEL_FAILED = (
        "MODEL_FAILED",
        Fault.INPUT,
        "The client's Python model failed or returned an unusable value.",
    )
    RENDER_FAILED = "RENDER_FAILED", Fault.INPUT, "Blender could not render the scene."
    LIMIT_EXCEEDED = (
        "LIMIT_EXCEEDED",
        Fault.INPUT,
        "The job exceeded its memory, processor time, processes or files.",
    )
    OUTPUT_TOO_LARGE = "OUTPUT_TOO_LARGE", Fault.INPUT, "The output files are larger than the miner allows."
    OUTPUT_REFUSED = "OUTPUT_REFUSED", Fault.INPUT, "The coordinator refused to store an output file."
    RESULT_TOO_LARGE = (
        "RESULT_TOO_LARGE", Fault.INPUT,
        "The results are too large for an answer; write large data to files.",
    )  # fmt: skip
    RESULT_INVALID = (
        "RESULT_INVALID",
        Fault.INPUT,
        "The results contain an object that imitates an output file.",
    )
    TIMEOUT = "TIMEOUT", Fault.INPUT, "A program of the run exceeded the job's `timeout_seconds`."
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED", Fault.INPUT, "The run exceeded the job's `timeout_seconds`."
    COST_LIMIT_REACHED = (
        "COST_LIMIT_REACHED",
        Fault.INPUT,
        "The run would have cost more than `pricing.max_cost`.",
    )

    SEALED_INVALID = (
        "SEALED_INVALID", Fault.INPUT,
        "The sealed request does not open: it was changed, or sealed for another miner, model or service.",
        True,
    )  # fmt: skip
    SEALED_KEY_EXPIRED = (
        "SEALED_KEY_EXPIRED", Fault.INPUT,
        "The miner no longer has the key to which the request was sealed.",
        True,
    )  # fmt: skip
    SEALED_REPLAYED = (
        "SEALED_REPLAYED",
        Fault.INPUT,
        "The same sealed request was already run as another job.",
        True,
    )

    # Neither the job nor the machine failed.
    INPUT_UNAVAILABLE = (
        "INPUT_UNAVAILABLE", Fault.NEITHER,
        "An input file could not be fetched from its server. Final if the server reports that it does not exist or is private.",
    )  # fmt: skip
    SERVICE_NOT_OFFERED = "SERVICE_NOT_OFFERED", Fault.NEITHER, "The miner no longer offers the service."
    LEASE_MALFORMED = (
        "LEASE_MALFORMED", Fault.NEITHER,
        "The miner does not understand the coordinator's lease: one of them needs an update.",
    )  # fmt: skip
    SPEC_MISMATCH = "SPEC_MISMATCH", Fault.NEITHER, "The miner received a job that does not match its digest."
    REQUIREMENTS_UNAVAILABLE = (
        "REQUIREMENTS_UNAVAILABLE", Fault.NEITHER,
        "The package index could not be reached, or the environment does not fit.",
    )  # fmt: skip
    ENGINE_OUTDATED = "ENGINE_OUTDATED", Fault.NEITHER, "The machine's engine is too old for the file."
    ENGINE_UNAVAILABLE = (
        "ENGINE_UNAVAILABLE",
        Fault.NEITHER,
        "The requested engine does not work on the machine.",
    )
    ENCODER_UNAVAILABLE = (
        "ENCODER_UNAVAILABLE",
        Fault.NEITHER,
        "The machine's ffmpeg has no encoder for the codec.",
    )
    DENOISER_UNAVAILABLE = "DENOISER_UNAVAILABLE", Fault.NEITHER, "The machine's Blender has no denoiser."
    GPU_UNAVAILABLE = "GPU_UNAVAILABLE", Fault.NEITHER, "The engine cannot use a GPU on the machine."
    GPU_UNSUPPORTED = (
        "GPU_UNSUPPORTED", Fault.NEITHER,
        "The machine's GPU or its driver cannot run the engine, for any job.",
        True,
    )  # fmt: skip
    HARDWARE_UNAVAILABLE = (
        "HARDWARE_UNAVAILABLE",
        Fault.NEITHER,
        "No hardware encoder for the codec works on the machine.",
    )
    SEALED_MINER_AWAY = (
        "SEALED_MINER_AWAY", Fault.NEITHER,
        "The miner of a sealed job's offer stayed away; no other miner can read the job.",
        True,
    )  # fmt: skip
    LEASE_EXPIRED = "LEASE_EXPIRED", Fault.NEITHER, "The miner stopped renewing the job's lease."

    # The machine has too little memory for the job.
    NO_MEMORY = "NO_MEMORY", Fault.CAPACITY, "The machine has no device with enough memory for the job.", True
    OUT_OF_MEMORY = "OUT_OF_MEMORY", Fault.CAPACITY, "The run needed more memory than the machine had."

    # A catalogue model cannot be used on the machine.
    MODEL_UNKNOWN = "MODEL_UNKNOWN", Fault.MODEL, "The miner's catalogue does not contain the model.", True
    MODEL_UNAVAILABLE = (
        "MODEL_UNAVAILABLE",
        Fault.MODEL,
        "The model is missing, damaged or cannot be loaded.",
        True,
    )

    # The machine's fault.
    MACHINE_FAULT = "MACHINE_FAULT", Fault.MACHINE, "The machine failed without a more specific code."
    RUNNER_ERROR = "RUNNER_ERROR", Fault.MACHINE, "The runner failed without a more specific code."
    RUNNER_CRASHED = "RUNNER_CRASHED", Fault.MACHINE, "The runner's process crashed or broke its protocol."
    RUNNER_HUNG = "RUNNER_HUNG", Fault.MACHINE, "The runner reported no progress and was ended."
    ENGINE_DIED = (
        "ENGINE_DIED", Fault.MACHINE,
        "The engine or its GPU context failed beyond repair; the runner's process is replaced.",
    )  # fmt: skip
    RUNNER_ENDED = "RUNNER_ENDED", Fault.MACHINE, "The runner's process was ended during the run."
    NODE_LOST = (
        "NODE_LOST",
        Fault.MACHINE,
        "The node of the miner's cluster on which the job ran was lost.",
        True,
    )
    RUNNER_REPLACED = (
        "RUNNER_REPLACED",
        Fault.MACHINE,
        "Another version of the runner was installed during the run.",
    )
    MODEL_LOAD_TIMEOUT = "MODEL_LOAD_TIMEOUT", Fault.MACHINE, "Loading the model took too long."
    MODEL_FAULT = "MODEL_FAULT", Fault.MACHINE, "The model's weights could not be read for their digest."
    MINER_ERROR = "MINER_ERROR", Fault.MACHINE, "The miner failed unexpectedly."
    DISK_FULL = "DISK_FULL", Fault.MACHINE, "The miner's disk is full.", True
    DISK_FAULT = "DISK_FAULT", Fault.MACHINE, "The miner could not read or write its disk.", True
    OUTPUT_LOST = (
        "OUTPUT_LOST",
        Fault.MACHINE,
        "An output file changed or became unreadable before its upload.",
    )
    SANDBOX_UNAVAILABLE = "SANDBOX_UNAVAILABLE", Fault.MACHINE, "The sandbox does not work on the machine."
    PROGRAM_MISSING = (
        "PROGRAM_MISSING",
        Fault.MACHINE,
        "A program that the service needs is missing or does not work.",
    )
    ENGINE_MISSING = "ENGINE_MISSING", Fault.MACHINE, "The requested engine is not installed."
    GPU_FAILED = "GPU_FAILED", Fault.MACHINE, "Rendering on the GPU failed."
    HARDWARE_FAILED = "HARDWARE_FAILED", Fault.MACHINE, "The hardware encoder failed."


TOO_LARGE: Final = frozenset(code for code in FailureCode if code.fault is Fault.CAPACITY)
"""Codes of runs that needed more memory than the machine has."""
UNABLE: Final = frozenset(
    code
    for code in FailureCode
    if code.fault in (Fault.CAPACITY, Fault.MODEL, Fault.NEITHER) and code is not FailureCode.LEASE_EXPIRED
)
"""Codes of runs that the machine could not perform, such as those of `TOO_LARGE` or of an engine that does not work there. The job
runs elsewhere, and the miner is not at fault."""
_KNOWN = {str(code): code for code in FailureCode}


class RunnerError(Exception):
    """A run ended without a result. Raise one of its two subclasses."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code or self.default_code

    default_code: ClassVar[str] = FailureCode.RUNNER_ERROR

    @property
    def own_message(self) -> bool:
        """Whether the message may be logged: it never quotes the job. See `FailureCode`."""
        return self.code in _KNOWN and _KNOWN[self.code].own_message

    @property
    def fault(self) -> Fault:
        """What caused the failure; the machine if the code is another package's own."""
        kind = _KNOWN.get(self.code)
        return Fault.MACHINE if kind is None or kind.fault is Fault.INPUT else kind.fault


class Fail(RunnerError):
    """The input is at fault: the job fails for good, on every miner. The message states what the client must change."""

    default_code = FailureCode.INPUT_INVALID

    @property
    def fault(self) -> Fault:
        """Always the input."""
        return Fault.INPUT


class Retry(RunnerError):
    """The machine is at fault: another miner tries the job. The message states the problem to this miner's owner."""

    default_code = FailureCode.MACHINE_FAULT


class TimedOut(Retry):
    """A program of the machine did not end in time. On a busy machine that does not mean that it is broken."""


class Cancelled(Exception):
    """Raised by `Context.check` once the job has been cancelled. A runner lets it pass."""


class WrongField(ValueError):
    """Raised by a validator of a whole input, for an error that belongs to one of its fields, given by its dotted name."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
