"""The engines that transcribe, and the choice between them.

faster-whisper (CTranslate2) and openai-whisper (PyTorch) run Whisper models, onnx-asr (ONNX Runtime) runs Parakeet models. All
get the sound as samples, never as a file, which they would decode outside the sandbox.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from runners.api import Device, FailureCode, Model, Retry
from runners.extras import extra_command
from runners.torch_memory import memory_faults
from runners.whisper import cublas
from runners.whisper.request import Engine, TranscribeRequest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Samples = NDArray[np.float32]

SAMPLE_RATE: Final = 16_000
"""Samples per second of Whisper's input, which has one channel."""

WINDOW_SECONDS: Final = 30
"""The sound that Whisper decodes at once."""

ENGINES: Final[tuple[Engine, ...]] = ("faster-whisper", "openai-whisper", "onnx-asr")
"""The engines, best first."""

MODULES: Final[Mapping[Engine, tuple[str, ...]]] = {
    "faster-whisper": ("faster_whisper",),
    "openai-whisper": ("whisper",),
    "onnx-asr": ("onnx_asr", "faster_whisper"),  # whose voice activity detection it uses
}
"""The modules without which an engine cannot work."""

FILES: Final[Mapping[Engine, tuple[tuple[str, ...], ...]]] = {
    "faster-whisper": ((
        "model.bin", "config.json", "preprocessor_config.json", "tokenizer.json", "vocabulary.json", "vocabulary.txt",
    ),),
    "openai-whisper": (("model.pt",),),
    "onnx-asr": (
        ("encoder-model.onnx", "decoder_joint-model.onnx", "vocab.txt", "config.json", "encoder-model.onnx.data"),
        ("encoder-model.int8.onnx", "decoder_joint-model.int8.onnx", "vocab.txt", "config.json"),
    ),
}  # fmt: skip
"""The files of a model in each engine's formats, best first. The first of a format holds the weights; a model need not have all others."""

REQUIRED: Final[Mapping[Engine, int]] = {"onnx-asr": 4}
"""How many of a format's files a model must have; by default only the first."""


REPETITIVE: Final = 2.4
UNLIKELY: Final = -1.0
SILENT: Final = 0.6
"""Whisper's own thresholds: the compression ratio of a text, the mean logarithm of its tokens' probabilities, and the
probability that there is no speech (section 4.5 of "Robust Speech Recognition via Large-Scale Weak Supervision")."""

DOUBT: Final = 0.1
"""How close to a threshold a text is doubtful: another machine's numbers differ a little. Of the compression ratio, this share."""


class Listener(Protocol):
    """Receives an engine's progress. All methods may raise, which ends the transcription."""

    def reached(self, seconds: float, language: str | None) -> None:
        """The sound before `seconds` is transcribed and all its segments were reported. `language` is None while unknown.

        Called at least once for every window or batch of windows.
        """

    def segment(self, segment: Mapping[str, Any], text: str) -> None:
        """A segment is finished; `text` is its text with the space that precedes it. Called in order."""

    def doubtful(self, start: float, end: float) -> None:
        """What was transcribed between these times depends on chance. See `is_doubtful`."""


class TranscriptionEngine(Protocol):
    """A loaded model."""

    @property
    def weights(self) -> tuple[Path, ...]:
        """The files of its weights."""

    @property
    def precision(self) -> str:
        """The type of the weights as computed with."""

    def transcribe(self, samples: Samples, request: TranscribeRequest, listener: Listener) -> str:
        """Report the segments of samples between -1 and 1 at `SAMPLE_RATE`. Return the code of their language."""


def is_doubtful(likelihood: float, compression_ratio: float) -> bool:
    """Return whether a text that was decoded at temperature 0 may be discarded on one machine and not on another.

    Whisper discards a text that is repetitive or unlikely, and takes one that is drawn at random, or none. Two honest runs differ there.
    """
    return compression_ratio > (1 - DOUBT) * REPETITIVE or likelihood < UNLIKELY + DOUBT


def weights(engine: Engine, model: Model) -> tuple[Path, ...]:
    """Return the files that an engine would load; empty if the model is missing in that engine's format."""
    for names in FILES[engine]:
        found = tuple(path for name in names if (path := model.path / name).is_file())
        if found and found[0].name == names[0]:
            return found
    return ()


def installed(engine: Engine) -> bool:
    """Return whether an engine's packages are installed, without importing them."""
    return all(importlib.util.find_spec(module) is not None for module in MODULES[engine])


def choose(model: Model, device: Device) -> Engine:
    """Return the best engine that is installed, works on this device, and has the model in its format.

    Without such an engine, return one whose loading states what is missing.
    """
    named = [engine for engine in ENGINES if engine in model.engines] or ENGINES
    working = [engine for engine in named if lacking(engine, device) is None]
    ready = [engine for engine in working if weights(engine, model)]
    limited = [engine for engine in named if installed(engine) and weights(engine, model)]
    return next(iter([*ready, *limited, *working, named[0]]))


def open_engine(engine: Engine, model: Model, device: Device) -> TranscriptionEngine:
    """Load a model. Raises `Retry`: ENGINE_MISSING, MODEL_UNAVAILABLE, OUT_OF_MEMORY."""
    if (missing := lacking(engine, device)) is not None:
        raise Retry(missing, code=FailureCode.ENGINE_MISSING)
    if not weights(engine, model):
        raise Retry(
            f"The model {model.name!r} is not on this machine in the format of {engine}; download it with "
            f"'aitbc-agent models pull {model.name}'.",
            code=FailureCode.MODEL_UNAVAILABLE,
        )
    if absent := _absent(engine, model):
        raise Retry(
            f"The model {model.name!r} has no {' and no '.join(absent)}, without which {engine} cannot load it; download it with "
            f"'aitbc-agent models pull {model.name}'.",
            code=FailureCode.MODEL_UNAVAILABLE,
        )
    with memory_faults():
        try:
            return _load(engine, model, device)
        except (MemoryError, Retry):
            raise
        except Exception as error:
            if "out of memory" in str(error).lower():
                raise
            # A damaged or foreign file makes the loaders raise almost anything.
            raise Retry(
                f"The model {model.name!r} could not be loaded by {engine}: {type(error).__name__}: {error}"[
                    :500
                ],
                code=FailureCode.MODEL_UNAVAILABLE,
            ) from error


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
    # Imported here, since each module needs functions of this one.
    if engine == "faster-whisper":
        from runners.whisper.faster import FasterWhisper  # noqa: PLC0415 - as above

        return FasterWhisper(model, device)
    if engine == "onnx-asr":
        from runners.whisper.parakeet import Parakeet  # noqa: PLC0415 - as above

        return Parakeet(model, device)
    from runners.whisper.original import OpenAIWhisper  # noqa: PLC0415 - as above

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


def plain_segment(
    start: float, end: float, text: str, words: Sequence[Mapping[str, Any]] | None
) -> Mapping[str, Any]:
    """Return a segment in the form of `request.Segment` as plain JSON, without the engines' NumPy numbers."""
    segment: dict[str, Any] = {
        "start": round(float(start), 3),
        "end": round(float(end), 3),
        "text": text.strip(),
    }
    if words is not None:
        segment["words"] = [
            {
                "word": word["word"].strip(),
                "start": round(float(word["start"]), 3),
                "end": round(float(word["end"]), 3),
                "probability": round(float(word["probability"]), 4),
            }
            for word in words
        ]
    return segment
