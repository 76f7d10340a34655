"""The engine piper-tts: Piper's voices (VITS) on ONNX Runtime, each a model of its own, some with several speakers."""

from __future__ import annotations

import json
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from runners.api import Device, Fail, FailureCode, Model, Retry
from runners.speech.sound import floats

if TYPE_CHECKING:
    from runners.speech.base import Samples

CONFIGURATION: Final = ".onnx.json"
"""The end of the name of the file that describes a voice."""

MIXED: Final = ("espeak", "text")
"""How texts become phonemes in the models that can be used. The others would fetch further files from the network."""


class PiperModel:
    """A voice of Piper: a file `*.onnx` and its description, in the model's directory or below it."""

    def __init__(self, model: Model, device: Device) -> None:
        import onnxruntime  # noqa: PLC0415 - the coordinator imports the runner without its engine
        from piper import PiperVoice  # noqa: PLC0415 - as above
        from piper.config import PiperConfig  # noqa: PLC0415 - as above

        file, description = voice_files(model.path)
        described = json.loads(description.read_text())
        if described.get("phoneme_type", "espeak") not in MIXED:
            raise Retry(
                f"The model {model.name!r} needs {described['phoneme_type']!r} phonemes, which this miner does not make; "
                "use another voice.",
                code=FailureCode.MODEL_UNAVAILABLE,
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(1, device.threads)
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        config = PiperConfig.from_dict(described)
        self._engine: Any = PiperVoice(session, config, download_dir=model.path)
        self._speakers: dict[str, int] = dict(config.speaker_id_map)
        self._language = str(described["espeak"]["voice"]).lower()
        self.sample_rate = int(config.sample_rate)
        self.voices = tuple(self._speakers) or (str(described.get("dataset") or model.name),)

    def speak(self, text: str, voice: str, speed: float, language: str | None) -> Samples:
        """See `SpeechModel`. Raises `Fail` for another language than the voice's."""
        from piper.config import SynthesisConfig  # noqa: PLC0415 - the coordinator imports the runner without its engine

        if language is not None and language.partition("-")[0] != self._language.partition("-")[0]:
            raise Fail(f"This model speaks {self._language!r} only; use another one for {language!r}.")
        # Two brackets would make the engine read phonemes instead of the text.
        plain = text.replace("[[", "[ [")
        style = SynthesisConfig(
            speaker_id=self._speakers.get(voice), length_scale=self._engine.config.length_scale / speed
        )
        sentences = [chunk.audio_int16_bytes for chunk in self._engine.synthesize(plain, style)]
        return floats(array("h", b"".join(sentences)))


def voice_files(directory: Path) -> tuple[Path, Path]:
    """Return the file of a voice and its description. Raises `FileNotFoundError`."""
    for description in sorted(directory.rglob(f"*{CONFIGURATION}")):
        file = description.with_suffix("")
        if file.is_file():
            return file, description
    raise FileNotFoundError(f"{directory} has no voice: a file *.onnx and beside it *{CONFIGURATION}")
