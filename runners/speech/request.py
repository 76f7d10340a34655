"""The request and the result of a speech job."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from runners.api import File, Strict, WrongField, shown_as

MAX_CHARACTERS = 100_000
"""Characters of one request: about two hours of speech."""

SoundFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]

KOKORO_PREFIX = "kokoro-"
"""Prefix of the names of Kokoro models in the catalogue."""

KOKORO_SPEEDS = (0.5, 2.0)
"""The least and the greatest speed at which Kokoro models were found to speak clearly by their engine's authors."""

_LANGUAGE = r"^[a-z]{2,3}(-[a-z0-9]{2,8})?$"


class SynthesisRequest(Strict):
    """Input of the service `speech_synthesis`.

    `voice` is one of the model's, None for its first; OpenAI's names of voices stand for similar ones of the model. `speed` 1 is the
    voice's own pace. `language` (such as "en-gb") is that of the text, None for the voice's own. Sound is mono with 24,000 samples per
    second; "pcm" is 16-bit without a header. With `stream`, the sound is published while it is made, in the formats mp3, opus, aac and pcm.
    """

    model_config = shown_as(
        {"model": "kokoro-82m", "input": "The harbour is quiet tonight.", "voice": "af_heart"}
    )

    model: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", examples=["kokoro-82m"])
    input: str = Field(min_length=1, max_length=MAX_CHARACTERS)
    voice: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,99}$", examples=["af_heart"]
    )
    output_format: SoundFormat = "mp3"
    speed: float = Field(default=1, ge=0.25, le=4, allow_inf_nan=False)
    language: Annotated[str, Field(pattern=_LANGUAGE, examples=["en-gb"])] | None = None
    stream: bool = False

    @model_validator(mode="after")
    def _speakable(self) -> Self:
        if not any(map(str.isalnum, self.input)):
            raise WrongField("input", "there is nothing to say: the text has neither letters nor digits")
        least, greatest = KOKORO_SPEEDS
        if self.model.startswith(KOKORO_PREFIX) and not least <= self.speed <= greatest:
            raise WrongField(
                "speed", f"model {self.model!r} speaks at a speed from {least:g} to {greatest:g}"
            )
        return self


class SpokenPassage(BaseModel, defer_build=True):
    """When a passage of the text is spoken, in seconds from the beginning."""

    start: float
    end: float
    text: str


class SynthesisResult(BaseModel, defer_build=True):
    """Output of the service: the file, its duration in seconds, its samples per second, the voice that spoke, and when it says what."""

    audio: File
    duration: float
    sample_rate: int
    voice: str
    segments: list[SpokenPassage]
