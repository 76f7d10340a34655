"""The choice between the engines that speak."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from runners.api import Device, FailureCode, Model, Retry
from runners.extras import extra_command, has_modules
from runners.model_errors import not_downloaded
from runners.speech.base import ENGINES, SpeechEngine, SpeechModel
from runners.speech.kokoro import MODEL_FILE, VOICES_FILE, KokoroModel
from runners.speech.piper import PiperModel, voice_files
from runners.torch_memory import loading_faults, memory_faults

MODULES: Final[Mapping[SpeechEngine, tuple[str, ...]]] = {
    "kokoro-onnx": ("kokoro_onnx", "av"),
    "piper-tts": ("piper", "av"),
}
"""The modules without which an engine cannot work."""

EXTRAS: Final[Mapping[SpeechEngine, str]] = {"kokoro-onnx": "kokoro", "piper-tts": "piper"}


def installed(engine: SpeechEngine) -> bool:
    """Return whether an engine's packages are installed, without importing them."""
    return has_modules(*MODULES[engine])


def weights(engine: SpeechEngine, model: Model) -> tuple[Path, ...]:
    """Return the files that an engine would load; empty if the model is missing in its format."""
    if engine == "kokoro-onnx":
        files = (model.path / MODEL_FILE, model.path / VOICES_FILE)
        return files if all(file.is_file() for file in files) else ()
    try:
        return voice_files(model.path)
    except FileNotFoundError:
        return ()


def choose(model: Model) -> SpeechEngine:
    """Return the engine for a model's files; without them, one whose loading states what is missing."""
    # An owner's own model may name no engine.
    named = [engine for engine in ENGINES if engine in model.engines] or ENGINES
    return next((engine for engine in named if weights(engine, model)), named[0])


def open_engine(engine: SpeechEngine, model: Model, device: Device) -> SpeechModel:
    """Load a model. Raises `Retry`: ENGINE_MISSING, MODEL_UNAVAILABLE, OUT_OF_MEMORY."""
    if not installed(engine):
        raise Retry(
            f"{engine} is not installed on this machine; install it with: {extra_command(EXTRAS[engine])}.",
            code=FailureCode.ENGINE_MISSING,
        )
    if not weights(engine, model):
        raise not_downloaded(model.name, f"in the format of {engine}")
    with memory_faults(), loading_faults(model, engine):
        return KokoroModel(model, device) if engine == "kokoro-onnx" else PiperModel(model, device)
