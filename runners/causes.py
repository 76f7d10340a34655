"""Whose fault a failure of an engine is: one table for all services.

An engine reports failures in its own words. The first row of `CAUSES` that fits gives the failure its code, and the code's `fault` says
who caused it: the client (final), the machine (counts against it) or nobody (another miner may try). A failure that a client's request
can cause must never count against the machine, or any client could take it out of service. A new way to fail is one more row.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from runners.errors import Fail, FailureCode, Fault, Retry

MAX_MESSAGE = 500
"""Characters of an error's message."""


class Stage(StrEnum):
    """What the engine did.

    `LOADING` a model involves no request. `READING` a request (its fields, the chat template, its tokens) computes nothing, so the same
    request fails in the same way on every machine. `ANSWERING` is the model's work.
    """

    LOADING = "loading"
    READING = "reading"
    ANSWERING = "answering"


class Outcome(StrEnum):
    """How the failure shows: the engine refuses the request, reports an error of its own, or does not answer in time."""

    REFUSED = "refused"
    FAILED = "failed"
    LATE = "late"


_EVERY_STAGE = frozenset(Stage)
_EVERY_OUTCOME = frozenset(Outcome)
_OF_REQUESTS = frozenset((Stage.READING, Stage.ANSWERING))
_READING, _LOADING = frozenset((Stage.READING,)), frozenset((Stage.LOADING,))
_REFUSED, _LATE = frozenset((Outcome.REFUSED,)), frozenset((Outcome.LATE,))
_REPORTED = frozenset((Outcome.REFUSED, Outcome.FAILED))

REFUSALS = frozenset((400, 413, 422))
"""HTTP statuses with which an engine's server refuses a request. Others, such as 404, show that it is not the server that was expected."""


@dataclass(frozen=True, slots=True)
class FailureCause:
    """A row: failures at one of these stages, with one of these outcomes, whose text contains one of `signs` (all texts without signs).

    `message` is the error's, in which {text} is the engine's own. Signs are in lower case.
    """

    code: FailureCode
    message: str
    stages: frozenset[Stage] = _EVERY_STAGE
    outcomes: frozenset[Outcome] = _EVERY_OUTCOME
    signs: tuple[str, ...] = ()

    def fits(self, stage: Stage, outcome: Outcome, text: str) -> bool:
        """Return whether this row describes a failure. `text` is in lower case."""
        if stage not in self.stages or outcome not in self.outcomes:
            return False
        return not self.signs or any(sign in text for sign in self.signs)


_NO_MEMORY_MODULE = (
    "CUDA does not start: its module nvidia-uvm is not loaded, or has failed since the machine was suspended. As root, load it: "
    "nvidia-modprobe -c0 -u; after a suspend reload it: rmmod nvidia_uvm; modprobe nvidia_uvm."
)

# The rows of requests precede those with signs of a broken machine, because engines quote what clients wrote.
CAUSES = (
    FailureCause(
        FailureCode.CONTEXT_OVERFLOW,
        "The request does not fit into the model's context: {text}",
        _OF_REQUESTS,
        _REPORTED,
        ("available context size", "maximum context length", "max_model_len", "too large to process"),
    ),
    FailureCause(
        FailureCode.INPUT_INVALID,
        "The model cannot answer this request: {text}",
        _READING,
        _REPORTED,
    ),
    FailureCause(
        FailureCode.INPUT_INVALID,
        "Reading the request takes the model's engine too long: {text} Shorten it.",
        _READING,
        _LATE,
    ),
    FailureCause(
        FailureCode.INPUT_INVALID, "The model cannot answer this request: {text}", _OF_REQUESTS, _REFUSED
    ),
    FailureCause(
        # llama.cpp reports with a status of its own faults what it finds in a conversation, a schema, a picture or the model's answer.
        FailureCode.INPUT_INVALID,
        "The model cannot answer this request: {text}",
        _OF_REQUESTS,
        _REPORTED,
        (
            "json.exception",
            "failed to parse tool call arguments",
            "failed to parse input",
            "does not match the expected",
            "failed to parse grammar",
            "failed to initialize samplers",
            "jinja",
            "chat template",
            "failed to load image",
            "failed to tokenize prompt",
            "failed to process image",
        ),
    ),
    FailureCause(
        FailureCode.OUT_OF_MEMORY,
        "The engine has too little memory: {text}",
        signs=(
            "out of memory",
            "failed to allocate",
            "bad_alloc",
            "unable to allocate",
            "outofdevicememory",
            "outofhostmemory",
            "device memory allocation of size",
            # What llama.cpp with Vulkan says instead on a device with one type of memory.
            "error loading model: vector::_m_range_check",
            # vLLM's sentences of failure. Each start also reports "Available KV cache memory" and "Free memory on device".
            "no available memory",
            "kv cache is needed, which is larger than the available",
            "larger than the maximum number of tokens that can be stored in kv cache",
            "on startup is less than",
        ),
    ),
    # Of a driver or a card that cannot run the engine. The sentences are for the machine's owner, and quote nothing.
    FailureCause(
        FailureCode.GPU_UNSUPPORTED,
        "The NVIDIA driver is too old for the engine, or its libcuda.so.1 is not found. Update the driver and restart the machine; "
        "aitbc-agent doctor names the version that each engine needs.",
        signs=(
            "driver on your system is too old",
            "driver version is insufficient",
            "unsupported toolchain",
            "unsupported_ptx_version",
        ),
    ),
    FailureCause(
        FailureCode.GPU_UNSUPPORTED,
        "The NVIDIA driver's kernel module and its libraries have different versions, as after an update. Restart the machine, or reload the "
        "module; in a container, also start that again.",
        signs=("unsupported display driver / cuda driver combination",),
    ),
    FailureCause(
        FailureCode.GPU_UNSUPPORTED,
        "The system refuses CUDA what it needs: the sandbox or the container keeps it from a file of the driver, or the driver itself fails. "
        "Check that nvidia-smi works there, and that /dev/nvidia* and /proc are not restricted; then restart the machine.",
        signs=("os call failed or operation not supported",),
    ),
    FailureCause(
        FailureCode.GPU_UNSUPPORTED,
        "The engine has no code for this card's generation. Use another engine for the service (aitbc-agent engines list), or another card.",
        signs=("no kernel image is available",),
    ),
    FailureCause(
        FailureCode.GPU_UNSUPPORTED,
        _NO_MEMORY_MODULE,
        signs=("cuda unknown error",),
    ),
    FailureCause(
        # Of a model that has answered before, the same words are those of a card that has failed since.
        FailureCode.GPU_UNSUPPORTED,
        _NO_MEMORY_MODULE,
        _LOADING,
        signs=(
            "cuda failed with error unknown error",
            "cuda failure 999",
            "cuda error: unknown error",
            "cuda error 999",
        ),
    ),
    FailureCause(
        FailureCode.GPU_UNSUPPORTED,
        "CUDA sees no card. Check that nvidia-smi shows it, that the agent's container or sandbox has it (--gpus all), that this user may open "
        "/dev/nvidia*, that /dev/nvidia-uvm exists, and the variable CUDA_VISIBLE_DEVICES.",
        signs=(
            "no cuda gpus are available",
            "no cuda-capable device is detected",
            "found no nvidia driver",
            "failed to infer device type",
        ),
    ),
    FailureCause(
        FailureCode.GPU_UNSUPPORTED,
        "llama.cpp does not find this machine's card. Install the engine that uses it (aitbc-agent engines install llama.cpp) and the card's "
        "Vulkan driver: mesa-vulkan-drivers for AMD and Intel; NVIDIA's driver contains one, in a container with NVIDIA_DRIVER_CAPABILITIES=all.",
        _LOADING,
        signs=("llama.cpp finds no device for",),
    ),
    FailureCause(
        FailureCode.GPU_UNSUPPORTED,
        "CUDA does not start on this machine. Check that nvidia-smi works, that /dev/nvidia-uvm exists, and that the agent's container or sandbox "
        "has the card; then restart the machine.",
        signs=("unexpected error from cudagetdevicecount", "cuda driver initialization failed"),
    ),
    FailureCause(
        # Not OUT_OF_MEMORY, after which the model would get a larger budget.
        FailureCode.NO_MEMORY,
        "Other programs freed memory of the GPU while the engine measured it: {text}",
        _LOADING,
        signs=("error in memory profiling",),
    ),
    FailureCause(
        # After an illegal memory access or a failed assertion of a kernel, every later call of CUDA in the process fails. The texts are
        # those of torch, CTranslate2 and the CUDA libraries; a failure that would have passed costs one more load.
        FailureCode.ENGINE_DIED,
        "The engine's GPU failed: {text}",
        frozenset((Stage.ANSWERING,)),
        signs=(
            "cuda error",
            "cuda driver error",
            "cuda failed with error",
            "cublas_status_",
            "cublas failed",
            "cudnn_status_",
            "device-side assert",
        ),
    ),
    FailureCause(FailureCode.MODEL_UNAVAILABLE, "The engine could not load the model: {text}", _LOADING),
    FailureCause(FailureCode.RUNNER_CRASHED, "The engine failed: {text}"),
)


def cause_of(stage: Stage, text: str, outcome: Outcome = Outcome.FAILED) -> FailureCause:
    """Return the first row that describes a failure with the engine's `text`."""
    lower = text.lower()
    return next(cause for cause in CAUSES if cause.fits(stage, outcome, lower))


def error_of(
    stage: Stage, text: str, outcome: Outcome = Outcome.FAILED, *, visible_text: str | None = None
) -> Fail | Retry:
    """Return the error to raise for a failure with the engine's `text`, of which clients see `visible_text`."""
    cause = cause_of(stage, text, outcome)
    message = cause.message.format(text=(text if visible_text is None else visible_text).strip())[
        :MAX_MESSAGE
    ]
    return (
        Fail(message, code=cause.code) if cause.code.fault is Fault.INPUT else Retry(message, code=cause.code)
    )
