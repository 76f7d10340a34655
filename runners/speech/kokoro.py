"""The engine kokoro-onnx: Kokoro (StyleTTS 2 with 82 million parameters) on ONNX Runtime.

Texts become phonemes by eSpeak NG, whose Japanese and Chinese are not those that the model was trained with, so those voices are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from runners.api import Device, Fail, Model

if TYPE_CHECKING:
    from runners.speech.base import Samples

MODEL_FILE: Final = "kokoro.onnx"
VOICES_FILE: Final = "voices.npz"

LANGUAGES: Final[Mapping[str, str]] = {
    "a": "en-us",
    "b": "en-gb",
    "e": "es",
    "f": "fr-fr",
    "h": "hi",
    "i": "it",
    "p": "pt-br",
}
"""eSpeak's language by the first letter of a voice."""

VOICES: Final = (
    "af_heart", "af_alloy", "af_aoede", "af_bella", "af_jessica", "af_kore", "af_nicole", "af_nova", "af_river", "af_sarah", "af_sky",
    "am_adam", "am_echo", "am_eric", "am_fenrir", "am_liam", "am_michael", "am_onyx", "am_puck", "am_santa",
    "bf_alice", "bf_emma", "bf_isabella", "bf_lily", "bm_daniel", "bm_fable", "bm_george", "bm_lewis",
    "ef_dora", "em_alex", "em_santa", "ff_siwis", "hf_alpha", "hf_beta", "hm_omega", "hm_psi", "if_sara", "im_nicola",
    "pf_dora", "pm_alex", "pm_santa",
)  # fmt: skip
"""The voices of Kokoro 1.0: the first letter is the language, the second f for a woman and m for a man. The first is the best one."""


class KokoroModel:
    """A model whose files are `MODEL_FILE` and `VOICES_FILE`, arrays by the names of the voices."""

    sample_rate = 24_000

    def __init__(self, model: Model, device: Device) -> None:
        import kokoro_onnx  # noqa: PLC0415 - the coordinator imports the runner without its engine
        import onnxruntime  # noqa: PLC0415 - as above

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(1, device.threads)
        file, voices = model.path / MODEL_FILE, model.path / VOICES_FILE
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self._engine: Any = kokoro_onnx.Kokoro.from_session(session, str(voices))
        # A file of the model's owner may have further ones.
        self.voices = tuple(name for name in sorted(self._engine.voices, key=_rank) if name[0] in LANGUAGES)

    def speak(self, text: str, voice: str, speed: float, language: str | None) -> Samples:
        """See `SpeechModel`. Raises `Fail` for a language that no voice speaks."""
        spoken = LANGUAGES[voice[0]] if language is None else _language(language)
        try:
            samples, _ = self._engine.create(text, voice, speed, spoken)
        except ValueError as error:
            raise Fail(f"This passage cannot be spoken: {text[:100]!r} ({error}).") from error
        result: Samples = samples
        return result


def _rank(voice: str) -> tuple[bool, str]:
    return voice != VOICES[0], voice


def _language(requested: str) -> str:
    """Return eSpeak's name of a language. Raises `Fail`."""
    for name in LANGUAGES.values():
        if requested in {name, name.partition("-")[0]}:
            return name
    raise Fail(f"This model does not speak {requested!r}, only {', '.join(LANGUAGES.values())}.")
