"""The engines that transcribe, and the choice between them.

faster-whisper (CTranslate2) and openai-whisper (PyTorch) run Whisper models, onnx-asr (ONNX Runtime) runs Parakeet models. All
get the sound as samples, never as a file, which they would decode outside the sandbox.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from runners.api import Device, FailureCode, Model, Retry
from runners.extras import extra_command, has_modules
from runners.model_errors import incomplete, not_downloaded
from runners.torch_memory import loading_faults, memory_faults
from runners.whisper import cublas
from runners.whisper.base import FILES, TranscriptionEngine, weights
from runners.whisper.faster import FasterWhisper
from runners.whisper.original import OpenAIWhisper
from runners.whisper.parakeet import Parakeet
from runners.whisper.request import Engine

ENGINES: Final[tuple[Engine, ...]] = ("faster-whisper", "openai-whisper", "onnx-asr")
"""The engines, best first."""

MODULES: Final[Mapping[Engine, tuple[str, ...]]] = {
    "faster-whisper": ("faster_whisper",),
    "openai-whisper": ("whisper",),
    "onnx-asr": ("onnx_asr", "faster_whisper"),  # whose voice activity detection it uses
}
"""The modules without which an engine cannot work."""

REQUIRED: Final[Mapping[Engine, int]] = {"onnx-asr": 4}
"""How many of a format's files a model must have; by default only the first."""


def installed(engine: Engine) -> bool:
    """Return whether an engine's packages are installed, without importing them."""
    return has_modules(*MODULES[engine])


def choose(model: Model, device: Device) -> Engine:
    """Return the best engine that is installed, works on this device, and has the model in its format.

    Without such an engine, return one whose loading states what is missing.
    """
    # An owner's own model may name no engine.
    named = [engine for engine in ENGINES if engine in model.engines] or ENGINES
    working = [engine for engine in named if lacking(engine, device) is None]
    ready = [engine for engine in working if weights(engine, model)]
    limited = [engine for engine in named if installed(engine) and weights(engine, model)]
    return next(iter([*ready, *limited, *working, named[0]]))


def open_engine(engine: Engine, model: Model, device: Device) -> TranscriptionEngine:
    """Load a model. Raises `Retry`: ENGINE_MISSING, MODEL_UNAVAILABLE, OUT_OF_MEMORY, GPU_UNSUPPORTED."""
    if (missing := lacking(engine, device)) is not None:
        raise Retry(missing, code=FailureCode.ENGINE_MISSING)
    if not weights(engine, model):
        raise not_downloaded(model.name, f"in the format of {engine}")
    # The loaders would ask the Hub for a missing file, or fail with a message about something else.
    if absent := _absent(engine, model):
        raise incomplete(
            model.name, f"has no {' and no '.join(absent)}, without which {engine} cannot load it"
        )
    with memory_faults(), loading_faults(model, engine):
        return _load(engine, model, device)


def lacking(engine: Engine, device: Device) -> str | None:
    """Return what an engine lacks on this device as a sentence with the remedy; None if nothing."""
    if not installed(engine):
        return f"{engine} is not installed on this machine."
    if engine == "faster-whisper" and device.kind == "cuda" and not cublas.load():
        return (
            "faster-whisper needs NVIDIA's cuBLAS for CUDA 12 to use the GPU; install it with: "
            f"{extra_command('faster-whisper-cuda')}."
        )
    if engine == "onnx-asr" and device.kind == "cuda" and not _onnxruntime_has_cuda():
        return (
            "onnx-asr needs onnxruntime-gpu to use the GPU; install it in an environment of its own with: "
            "aitbc-agent engines install onnx-asr."
        )
    return None


def _onnxruntime_has_cuda() -> bool:
    """Return whether this build of ONNX Runtime can use NVIDIA GPUs. Both builds are the same module."""
    import onnxruntime  # noqa: PLC0415 - the coordinator imports this module without it

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def _absent(engine: Engine, model: Model) -> list[str]:
    """Return the names of the files that a model lacks in the format whose weights it has."""
    present = {path.name for path in weights(engine, model)}
    (names,) = (names for names in FILES[engine] if names[0] in present)
    return [name for name in names[: REQUIRED.get(engine, 1)] if name not in present]


def _load(engine: Engine, model: Model, device: Device) -> TranscriptionEngine:
    if engine == "faster-whisper":
        return FasterWhisper(model, device)
    if engine == "onnx-asr":
        return Parakeet(model, device)
    return OpenAIWhisper(model, device)


def later(segment: Mapping[str, Any], seconds: float) -> Mapping[str, Any]:
    """Return a segment with its times, and those of its words, moved by this many seconds."""
    if not seconds:
        return segment
    moved = {name: round(segment[name] + seconds, 3) for name in ("start", "end")}
    words = segment.get("words")
    return {**segment, **moved} | (
        {} if words is None else {"words": [later(word, seconds) for word in words]}
    )
