"""The request and the result of a transcription job."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from runners.api import File, InputFile, Strict, WrongField, shown_as

Engine = Literal["faster-whisper", "openai-whisper", "onnx-asr"]
Subtitle = Literal["txt", "srt", "vtt", "json"]

_LANGUAGE_CODES = (
    "af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr ht hu hy id "
    "is it ja jw ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps pt ro ru sa sd si "
    "sk sl sn so sq sr su sv sw ta te tg th tk tl tr tt uk ur uz vi yi yo yue zh"
)

LANGUAGES = frozenset(_LANGUAGE_CODES.split())
"""The codes of Whisper's languages."""

ENGLISH_SUFFIX = ".en"
"""Suffix of the names of models for English only."""

UNDETERMINED = "und"
"""The language of a text whose model does not report it: the code of ISO 639-2 for "undetermined"."""

PARAKEET: Engine = "onnx-asr"
"""The engine of NVIDIA's Parakeet models."""

PARAKEET_PREFIX = "parakeet-"
"""Prefix of the names of Parakeet models in the catalogue."""

PARAKEET_ENGLISH_PREFIX = "parakeet-tdt-0.6b-v2"
"""Prefix of the names of Parakeet models for English only."""

_PARAKEET_CODES = "bg cs da de el en es et fi fr hr hu it lt lv mt nl pl pt ro ru sk sl sv uk"

PARAKEET_LANGUAGES = tuple(_PARAKEET_CODES.split())
"""The codes of the languages that multilingual Parakeet models recognise by themselves."""


class TranscribeRequest(Strict):
    """Input of the service `whisper_transcription`.

    `language` is an ISO 639 code, None to detect it. `task` "translate" returns English text. The results always contain
    the text and its segments; each of `output_formats` adds a file. With a `temperature` above 0 the text varies.
    A passage with a poor result is decoded again at higher temperatures. `engine` None is the miner's best: faster-whisper
    if it has the model in that engine's format.

    Models whose names begin with "parakeet-" are NVIDIA's, in the engine onnx-asr: they only transcribe, without a prompt and at
    temperature 0, and recognise the language by themselves.
    """

    model_config = shown_as(
        {
            "audio_url": "https://example.com/audio.mp3",
            "model": "base",
            "language": "en",
            "task": "transcribe",
        }
    )

    audio_url: Annotated[str, InputFile()] = Field(min_length=1, max_length=4096)
    model: str = Field(default="base", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", examples=["base"])
    language: str | None = Field(default=None, pattern=r"^[a-z]{2,3}$", examples=["en"])
    task: Literal["transcribe", "translate"] = "transcribe"
    word_timestamps: bool = False
    output_formats: tuple[Subtitle, ...] = Field(default=(), max_length=4)
    engine: Engine | None = None
    initial_prompt: str | None = Field(default=None, max_length=2000)
    temperature: float = Field(default=0, ge=0, le=1, allow_inf_nan=False)

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The temperatures to try in order."""
        steps = round((1 - self.temperature) / 0.2)
        return tuple(round(self.temperature + 0.2 * step, 2) for step in range(steps + 1))

    @model_validator(mode="after")
    def _language_fits(self) -> Self:
        if self.language is not None and self.language not in LANGUAGES:
            raise WrongField(
                "language",
                f"language {self.language!r} is not supported by Whisper; choose one of {', '.join(sorted(LANGUAGES))}",
            )
        if self.model.startswith(PARAKEET_PREFIX) or self.engine == PARAKEET:
            if (refusal := self.refused_by_parakeet()) is not None:
                raise refusal
            return self
        if not self.model.endswith(ENGLISH_SUFFIX):
            return self
        multilingual = self.model.removesuffix(ENGLISH_SUFFIX)
        if self.language not in (None, "en"):
            raise WrongField(
                "model",
                f"model {self.model!r} knows only English; use {multilingual!r} for {self.language!r}",
            )
        if self.task == "translate":
            raise WrongField(
                "model", f"model {self.model!r} knows only English; use {multilingual!r} to translate"
            )
        return self

    def refused_by_parakeet(self) -> WrongField | None:
        """Return what a Parakeet model cannot do of this request, with the remedy; None if it can do everything."""
        model = f"model {self.model!r}"
        languages = ("en",) if self.model.startswith(PARAKEET_ENGLISH_PREFIX) else PARAKEET_LANGUAGES
        if self.engine not in (None, PARAKEET):
            words = f"does not run in {self.engine}; leave out engine, or choose {PARAKEET!r}"
            return WrongField("engine", f"{model} {words}")
        if self.task == "translate":
            words = "does not translate; use a Whisper model such as 'large-v3' to translate"
            return WrongField("task", f"{model} {words}")
        if self.initial_prompt is not None:
            words = "has no prompt; remove initial_prompt, or use a Whisper model"
            return WrongField("initial_prompt", f"{model} {words}")
        if self.temperature > 0:
            words = "takes only the likeliest words; set temperature to 0, or use a Whisper model"
            return WrongField("temperature", f"{model} {words}")
        if self.language not in (None, *languages):
            words = f"does not know the language {self.language!r}, only {', '.join(languages)}; use a Whisper model for it"
            return WrongField("language", f"{model} {words}")
        return None

    @model_validator(mode="after")
    def _formats_differ(self) -> Self:
        if len(set(self.output_formats)) != len(self.output_formats):
            raise WrongField("output_formats", "output_formats names a format twice")
        return self


class Word(BaseModel, defer_build=True):
    """One word of a segment, in seconds from the beginning. `probability` is the engine's own estimate."""

    word: str
    start: float
    end: float
    probability: float


class Segment(BaseModel, defer_build=True):
    """A passage of the text, in seconds from the beginning. `words` is present only if requested."""

    start: float
    end: float
    text: str
    words: list[Word] | None = None


class TranscribeResult(BaseModel, defer_build=True):
    """Output of the service. `duration` is the audio's, in seconds. `language` is an ISO 639 code, "und" if the model does not report it.

    `resumed_until` is in the results of a miner that took over the job: the segments before this time come from
    another miner's run. The signer attests that it received them, not that it transcribed them.
    """

    text: str
    language: str
    duration: float
    segments: list[Segment]
    files: list[File]
    resumed_until: float | None = None
