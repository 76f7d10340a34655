"""`POST /v1/audio/transcriptions` and `/v1/audio/translations`: speech as text."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from agent.coordinator.features.client_apis import services
from agent.coordinator.features.client_apis.form import FILE, read_form
from agent.coordinator.features.client_apis.neutral import Only
from agent.coordinator.features.client_apis.results import invalid_results, result_file
from agent.coordinator.features.client_apis.serving import submit
from agent.coordinator.features.client_apis.submission import AnswerSubmission, ClientCall
from agent.coordinator.features.openai.languages import code_of
from agent.coordinator.operations.jobs.requests import JobOptions
from aitbc.answers.fields import example
from runners.whisper.request import Segment, TranscribeResult

Task = Literal["transcribe", "translate"]
TextFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]
SUBTITLES: Final = frozenset(("srt", "vtt"))


class SpeechRequest(JobOptions):
    """The fields other than the file, which may have any format that FFmpeg reads. Job options are an extension."""

    model_config = ConfigDict(strict=False)  # the fields of a form are text

    model: Annotated[str, Field(max_length=200, examples=["tiny.en"])]
    prompt: Annotated[str, Field(max_length=2000)] | None = None
    response_format: TextFormat = "json"
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None

    @property
    def granularities(self) -> frozenset[str]:
        """The units for which the answer gives times."""
        return frozenset(("segment",))

    @property
    def streamed(self) -> bool:
        """Whether the answer is sent piece by piece."""
        return False


class TranslationRequest(SpeechRequest):
    """Speech in any language, to be transcribed in English."""


class TranscriptionRequest(SpeechRequest):
    """Speech to transcribe. A parameter without effect accepts only its neutral value."""

    language: Annotated[
        Annotated[str, Field(pattern=r"^[a-z]{2,3}$", examples=["en"])] | None, BeforeValidator(code_of)
    ] = None
    timestamp_granularities: (
        Annotated[list[Literal["word", "segment"]], Field(min_length=1, max_length=2)] | None
    ) = None
    stream: bool | None = None
    chunking_strategy: Annotated[Any, Only()] = None
    include: Annotated[Any, Only()] = None
    keywords: Annotated[Any, Only()] = None
    known_speaker_names: Annotated[Any, Only()] = None
    known_speaker_references: Annotated[Any, Only()] = None
    languages: Annotated[Any, Only()] = None
    # Clients of other servers for Whisper send these. Engines skip silence as they do by default, and repeat in steps of 0.2.
    vad_filter: bool | None = None
    temperature_inc: Annotated[float | None, Only(0.2)] = None

    @model_validator(mode="after")
    def _granular(self) -> Self:
        if self.timestamp_granularities is not None and self.response_format != "verbose_json":
            raise ValueError("timestamp_granularities requires the response_format verbose_json")
        return self

    @model_validator(mode="after")
    def _streamable(self) -> Self:
        if self.stream and self.response_format not in {"json", "text"}:
            raise ValueError("stream requires the response_format json or text")
        return self

    @property
    def granularities(self) -> frozenset[str]:
        """See `SpeechRequest.granularities`."""
        return frozenset(self.timestamp_granularities or ["segment"])

    @property
    def streamed(self) -> bool:
        """See `SpeechRequest.streamed`."""
        return bool(self.stream)


REQUESTS: Final[Mapping[Task, type[SpeechRequest]]] = {
    "transcribe": TranscriptionRequest,
    "translate": TranslationRequest,
}


async def create(call: ClientCall, task: Task, key: str | None) -> tuple[AnswerSubmission, SpeechRequest]:
    """Store the file of the request's form as the caller's artifact and submit the job. See `serving.submit`."""
    request, files = await read_form(call, REQUESTS[task], "send the audio as a file in this field")
    request_fields = request.model_dump(include={"model", "language", "temperature"}, exclude_none=True)
    parameters = {
        **request_fields,
        "audio_url": files[FILE].artifact.address,
        "task": task,
        "initial_prompt": request.prompt,
        "word_timestamps": "word" in request.granularities,
        "output_formats": [request.response_format] if request.response_format in SUBTITLES else [],
    }
    # Errors of the service name its parameters, which clients of this path do not know.
    names = {"initial_prompt": "prompt", "audio_url": FILE}
    submission = await submit(call, services.SPEECH, parameters, request, key=key, names=names)
    return submission, request


class Duration(BaseModel, defer_build=True):
    """The metered duration of the audio."""

    type: Literal["duration"]
    seconds: float


class Transcription(BaseModel, defer_build=True):
    """The text."""

    model_config = example({"text": "Hello.", "usage": {"type": "duration", "seconds": 1}})

    text: str
    usage: Duration


class TimedSegment(BaseModel, defer_build=True):
    """A segment. Times are in seconds from the beginning."""

    id: int
    start: float
    end: float
    text: str


class TimedWord(BaseModel, defer_build=True):
    """A word. Times are in seconds from the beginning."""

    word: str
    start: float
    end: float


class VerboseTranscription(BaseModel, defer_build=True):
    """The text with times. `language` is an ISO 639 code: the spoken language, or "en" for a translation."""

    task: Task
    language: str
    duration: float
    text: str
    segments: list[TimedSegment] | None = None
    words: list[TimedWord] | None = None
    usage: Duration


def transcription(
    task: Task, request: SpeechRequest, result: TranscribeResult
) -> Transcription | VerboseTranscription:
    """Return the answer as JSON."""
    usage = Duration(type="duration", seconds=result.duration)
    if request.response_format == "json":
        return Transcription(text=result.text, usage=usage)
    return VerboseTranscription(
        task=task,
        language="en" if task == "translate" else result.language,
        duration=result.duration,
        text=result.text,
        segments=_segments(result.segments) if "segment" in request.granularities else None,
        words=_words(result.segments) if "word" in request.granularities else None,
        usage=usage,
    )


async def subtitles(
    submission: AnswerSubmission, request: SpeechRequest, result: TranscribeResult
) -> AsyncIterator[bytes]:
    """Yield the subtitle file of the job's results. Raises `AnswerInvalid` if there is none."""
    written = [file for file in result.files if file.name.endswith(f".{request.response_format}")]
    # The job was asked for this format, so results without it are the miner's fault.
    if not written:
        raise invalid_results(submission)
    record = await result_file(submission, written[0].artifact_id)
    return await submission.context.files.blobs.read(record.name_in_store, 0, record.size)


def _segments(segments: list[Segment]) -> list[TimedSegment]:
    return [
        TimedSegment(id=number, start=segment.start, end=segment.end, text=segment.text)
        for number, segment in enumerate(segments)
    ]


def _words(segments: list[Segment]) -> list[TimedWord]:
    return [
        TimedWord(word=word.word, start=word.start, end=word.end)
        for segment in segments
        for word in segment.words or []
    ]
