"""What both engines share: the interface of a loaded model, and the choice of a voice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, get_args

from runners.api import Fail, Model

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

    Samples = NDArray[float32]

SpeechEngine = Literal["kokoro-onnx", "piper-tts"]
ENGINES: Final[tuple[SpeechEngine, ...]] = get_args(SpeechEngine)

OPENAI_VOICES: Final = (
    "alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse",
)  # fmt: skip
"""The names that clients of OpenAI's API know."""


class SpeechModel(Protocol):
    """A loaded model."""

    @property
    def sample_rate(self) -> int:
        """Samples per second of what `speak` returns."""

    @property
    def voices(self) -> Sequence[str]:
        """Its voices; the first is the one for requests without a voice, unless the catalogue names another."""

    def speak(self, text: str, voice: str, speed: float, language: str | None) -> Samples:
        """Return a passage as samples between -1 and 1. Raises `Fail` for a language that the voice does not speak."""


def chosen_voice(requested: str | None, model: Model, voices: Sequence[str]) -> str:
    """Return the model's voice for a request. Raises `Fail`, which lists the voices.

    The catalogue's option `voices` maps further names to the model's. OpenAI's names are never an error: without such an entry, the model's
    usual voice speaks.
    """
    named: Mapping[str, Any] = model.options.get("voices", {})
    usual = str(model.options.get("voice", voices[0]))
    if requested is None:
        return usual
    if requested in voices:
        return requested
    alias = named.get(requested.lower())
    if alias in voices:
        return str(alias)
    if requested.lower() in OPENAI_VOICES:
        return usual
    names = ", ".join(voices[:100])
    raise Fail(f"The model {model.name!r} has no voice {requested!r}. It has: {names}.")
