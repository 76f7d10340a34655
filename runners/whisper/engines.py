"""The two engines that transcribe: openai-whisper (PyTorch) and faster-whisper (CTranslate2).

Both get the sound as samples, never as a file, which they would decode outside the sandbox.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

from runners.api import Device, FailureCode, Model, Retry
from runners.torch_memory import memory_faults
from runners.whisper.request import Engine, TranscribeRequest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Samples = NDArray[np.float32]

SAMPLE_RATE = 16_000
"""Samples per second of Whisper's input, which has one channel."""

CHECKPOINT = "model.pt"
"""The file of openai-whisper's weights in a model's directory."""

CTRANSLATE2_FILES = ("model.bin", "config.json", "tokenizer.json", "vocabulary.json", "vocabulary.txt")
"""The files of faster-whisper's weights; a model need not have all of them."""

_BATCH = {"cuda": 8, "cpu": 2}
"""30-second windows that faster-whisper decodes at once."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """A transcript. Segments are JSON objects in the form of `request.Segment`; a space may precede `text`."""

    text: str
    language: str
    segments: Sequence[Mapping[str, Any]]


class Listener(Protocol):
    """Receives an engine's progress. Both methods may raise, which ends the transcription."""

    def reached(self, seconds: float, language: str | None) -> None:
        """The sound before `seconds` is transcribed and all its segments were reported. `language` is None while unknown.

        Called at least once for every window, even during silence.
        """

    def segment(self, segment: Mapping[str, Any], text: str) -> None:
        """A segment is finished; `text` is its text with the space that precedes it. Called in order."""


class TranscriptionEngine(Protocol):
    """A loaded model."""

    @property
    def weights(self) -> tuple[Path, ...]:
        """The files of its weights."""

    def transcribe(self, samples: Samples, request: TranscribeRequest, listener: Listener) -> Transcript:
        """Transcribe samples between -1 and 1 at `SAMPLE_RATE`."""


def weights(engine: Engine, model: Model) -> tuple[Path, ...]:
    """Return the files that an engine would load; empty if the model is missing in that engine's format."""
    names = (CHECKPOINT,) if engine == "openai-whisper" else CTRANSLATE2_FILES
    found = tuple(path for name in names if (path := model.path / name).is_file())
    return found if found and found[0].name == names[0] else ()


def installed(engine: Engine) -> bool:
    """Return whether an engine's package is installed, without importing it."""
    module = "whisper" if engine == "openai-whisper" else "faster_whisper"
    return importlib.util.find_spec(module) is not None


def open_engine(engine: Engine, model: Model, device: Device) -> TranscriptionEngine:
    """Load a model. Raises `Retry`: ENGINE_MISSING, MODEL_UNAVAILABLE, OUT_OF_MEMORY."""
    if not installed(engine):
        raise Retry(f"{engine} is not installed on this machine.", code=FailureCode.ENGINE_MISSING)
    if not weights(engine, model):
        raise Retry(
            f"The model {model.name!r} is not on this machine in the format of {engine}; download it with "
            f"'aitbc-agent models pull {model.name}'.",
            code=FailureCode.MODEL_UNAVAILABLE,
        )
    with memory_faults():
        try:
            return (
                OpenAIWhisper(model, device) if engine == "openai-whisper" else FasterWhisper(model, device)
            )
        except MemoryError:
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


class OpenAIWhisper:
    """A model in openai-whisper: half precision on a GPU, single on a CPU."""

    def __init__(self, model: Model, device: Device) -> None:
        import torch  # noqa: PLC0415 - the coordinator imports this module without the engine
        import whisper  # noqa: PLC0415 - the coordinator imports this module without the engine

        torch.set_num_threads(max(1, device.threads))
        self.weights = weights("openai-whisper", model)
        self._half = device.kind == "cuda"
        self._model: Any = whisper.load_model(str(self.weights[0]), device=device.kind)
        # Loading by path omits the attention heads that follow the timing of words.
        heads = whisper._ALIGNMENT_HEADS.get(model.name)  # noqa: SLF001 - no public name for the table
        if heads is not None:
            self._model.set_alignment_heads(heads)

    def transcribe(self, samples: Samples, request: TranscribeRequest, listener: Listener) -> Transcript:
        """See `TranscriptionEngine`."""
        with memory_faults(), _followed(self._model, listener) as follower:
            result = self._model.transcribe(
                samples,
                language=request.language,
                task=request.task,
                temperature=request.temperatures,
                initial_prompt=request.initial_prompt,
                word_timestamps=request.word_timestamps,
                fp16=self._half,
                verbose=None,
            )
            segments = follower.finish(result["segments"])
        return Transcript(result["text"], result["language"], segments)


@contextmanager
def _followed(model: Any, listener: Listener) -> Iterator[_Follower]:
    """Make `model.decode`, called for each window and temperature, also report to the listener."""
    follower = _Follower(model.decode, listener)
    model.decode = follower
    try:
        yield follower
    finally:
        del model.decode


class _Follower:
    """Replaces a model's `decode` to observe the progress of `whisper.transcribe`.

    That function reports only a progress bar, which stops during silence. This class reads its local variables `seek` (in
    steps of 10 ms), `all_segments` and `language`. If a later version renames them, segments
    are reported at the end, and only progress and checkpoints are lost.
    """

    def __init__(self, decode: Any, listener: Listener) -> None:
        self._decode = decode
        self._listener = listener
        self._reported: list[Mapping[str, Any]] = []

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        frame = inspect.currentframe()
        seek, segments, language = _progress_of_transcribe(frame)
        self._publish(segments)
        self._listener.reached(seek / 100, language)
        return self._decode(*arguments, **options)

    def finish(self, segments: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Report the remaining segments; return all segments."""
        self._publish(segments)
        return self._reported

    def _publish(self, segments: Sequence[Mapping[str, Any]]) -> None:
        spoken = [segment for segment in segments if segment["text"].strip()]
        for segment in spoken[len(self._reported) :]:
            words = segment.get("words")
            published = _segment(segment["start"], segment["end"], segment["text"], words)
            self._reported.append(published)
            self._listener.segment(published, segment["text"])


def _progress_of_transcribe(
    frame: FrameType | None,
) -> tuple[int, Sequence[Mapping[str, Any]], str | None]:
    """Return `seek`, `all_segments` and `language` of the function `transcribe` on the stack; 0, () and None without it."""
    while frame is not None:
        if frame.f_code.co_name == "transcribe" and "all_segments" in frame.f_locals:
            found = frame.f_locals
            return int(found.get("seek", 0)), found["all_segments"], found.get("language")
        frame = frame.f_back
    return 0, (), None


class FasterWhisper:
    """A model in faster-whisper, several windows at once."""

    def __init__(self, model: Model, device: Device) -> None:
        from faster_whisper import BatchedInferencePipeline, WhisperModel  # noqa: PLC0415 - the coordinator imports this module without the engine

        self.weights = weights("faster-whisper", model)
        self._batch = _BATCH[device.kind]
        loaded = WhisperModel(
            str(model.path),
            device=device.kind,
            compute_type="float16" if device.kind == "cuda" else "float32",
            cpu_threads=max(1, device.threads),
            local_files_only=True,
        )
        self._pipeline: Any = BatchedInferencePipeline(loaded)

    def transcribe(self, samples: Samples, request: TranscribeRequest, listener: Listener) -> Transcript:
        """See `TranscriptionEngine`."""
        text, segments = "", list[Mapping[str, Any]]()
        with memory_faults():
            passages, information = self._pipeline.transcribe(
                samples,
                language=request.language,
                task=request.task,
                temperature=list(request.temperatures),
                initial_prompt=request.initial_prompt,
                word_timestamps=request.word_timestamps,
                without_timestamps=False,
                batch_size=self._batch,
            )
            for passage in passages:
                words = [_word(word) for word in passage.words] if passage.words is not None else None
                segment = _segment(passage.start, passage.end, passage.text, words)
                text += passage.text
                segments.append(segment)
                listener.segment(segment, passage.text)
                listener.reached(float(passage.end), information.language)
        return Transcript(text, information.language, segments)


def later(segment: Mapping[str, Any], seconds: float) -> Mapping[str, Any]:
    """Return a segment with its times, and those of its words, moved by this many seconds."""
    if not seconds:
        return segment
    moved = {name: round(segment[name] + seconds, 3) for name in ("start", "end")}
    words = segment.get("words")
    return {**segment, **moved} | (
        {} if words is None else {"words": [later(word, seconds) for word in words]}
    )


def _word(word: Any) -> Mapping[str, Any]:
    """Return a word of faster-whisper in the form of openai-whisper."""
    return {"word": word.word, "start": word.start, "end": word.end, "probability": word.probability}


def _segment(
    start: float, end: float, text: str, words: Sequence[Mapping[str, Any]] | None
) -> Mapping[str, Any]:
    """Return a segment as plain JSON, without the engines' NumPy numbers."""
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
