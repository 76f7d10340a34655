"""The engine faster-whisper: Whisper on CTranslate2, several windows at once."""

from __future__ import annotations

import os
import zlib
from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from runners.api import Device, Model
from runners.engine_server.openmp import WAITING
from runners.torch_memory import memory_faults
from runners.whisper.base import (
    REPETITIVE,
    SAMPLE_RATE,
    SILENT,
    UNLIKELY,
    WINDOW_SECONDS,
    Listener,
    is_doubtful,
    plain_segment,
    weights,
)
from runners.whisper.request import TranscribeRequest
from runners.whisper.speech import Block, Clip, batches, blocks

if TYPE_CHECKING:
    from runners.whisper.base import Samples

BATCH: Final = {"cuda": 8, "cpu": 4}
"""Clips that are decoded at once. More are no faster on a CPU, and each takes a quarter of a gigabyte with a medium model."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The segments of a clip, as faster-whisper returns them, with times in the speech.

    `doubtful` states that the text at temperature 0 was, in the sense of `is_doubtful`.
    """

    segments: Sequence[Any]
    doubtful: bool = False

    @property
    def compression_ratio(self) -> float:
        """The length of the text compared with its compressed length. A high one is the usual sign of a decoder in a loop."""
        text = "".join(segment.text for segment in self.segments).strip().encode()
        return len(text) / len(zlib.compress(text)) if text else 0.0

    @property
    def repetitive(self) -> bool:
        """Whether the text repeats itself."""
        return self.compression_ratio > REPETITIVE

    @property
    def likelihood(self) -> float:
        """The mean logarithm of the tokens' probabilities."""
        tokens = [(segment.avg_logprob, len(segment.tokens)) for segment in self.segments]
        count = sum(length for _, length in tokens)
        return sum(mean * length for mean, length in tokens) / count if count else 0.0

    @property
    def silent(self) -> bool:
        """Whether there was probably no speech, so that the text is invented."""
        return self.likelihood < UNLIKELY and all(
            segment.no_speech_prob > SILENT for segment in self.segments
        )

    @property
    def poor(self) -> bool:
        """Whether decoding at a higher temperature may give a better text."""
        return self.repetitive or self.likelihood < UNLIKELY


class FasterWhisper:
    """A model in faster-whisper: half precision on a GPU, 8-bit integers on a CPU."""

    def __init__(self, model: Model, device: Device) -> None:
        # Before the import, since the library reads the variable when it is loaded.
        os.environ |= WAITING
        import ctranslate2  # noqa: PLC0415 - the coordinator imports the runner without the engine
        from faster_whisper import BatchedInferencePipeline, WhisperModel  # noqa: PLC0415 - as above

        precision = "float16" if device.kind == "cuda" else "int8"
        # Old cards compute no half precision; "auto" takes the next best.
        supported = ctranslate2.get_supported_compute_types(device.kind)
        self.weights = weights("faster-whisper", model)
        self._batch = BATCH[device.kind]
        self._model: Any = WhisperModel(
            str(model.path),
            device=device.kind,
            compute_type=precision if precision in supported else "auto",
            cpu_threads=max(1, device.threads),
            local_files_only=True,
        )
        self.precision = str(self._model.model.compute_type)
        self._pipeline: Any = BatchedInferencePipeline(self._model)

    def transcribe(self, samples: Samples, request: TranscribeRequest, listener: Listener) -> str:
        """See `TranscriptionEngine`."""
        language = request.language
        listener.reached(0, language)
        with memory_faults():
            for block in blocks(samples):
                border = block.start
                for clips in batches(block.clips, self._batch):
                    decoded, language = self._decode(block.speech, clips, request, language)
                    # Reported clip by clip, so that a checkpoint can be made between two of them.
                    for clip, result in zip(clips, decoded, strict=True):
                        if result.doubtful:
                            listener.doubtful(border, clip.border)
                        self._report(block, clip, result, listener)
                        border = clip.border
                        listener.reached(border, language)
                listener.reached(block.end, language)
            return language or self._language(samples)

    def _decode(
        self, speech: Samples, clips: Sequence[Clip], request: TranscribeRequest, language: str | None
    ) -> tuple[list[Decoded], str]:
        """Decode clips together, and those with a poor result again one by one at higher temperatures."""
        options = {
            "language": language,
            "task": request.task,
            "initial_prompt": request.initial_prompt,
            "word_timestamps": request.word_timestamps,
            "without_timestamps": False,
        }
        first, *higher = request.temperatures
        if first:  # the pipeline takes the likeliest words at any temperature
            language = language or self._language(speech)
            options["language"] = language
            return [self._alone(speech, clip, request.temperatures, options) for clip in clips], language
        passages, information = self._pipeline.transcribe(
            speech,
            temperature=first,
            batch_size=len(clips),
            clip_timestamps=[{"start": clip.start, "end": clip.end} for clip in clips],
            **options,
        )
        decoded = _by_clip(passages, clips)
        options["language"] = information.language
        for number, clip in enumerate(clips):
            doubtful = is_doubtful(decoded[number].likelihood, decoded[number].compression_ratio)
            if higher and decoded[number].poor and not decoded[number].silent:
                retried = self._alone(speech, clip, higher, options)
                # As in Whisper: if all are poor, the likeliest of those that do not repeat themselves.
                decoded[number] = max(decoded[number], retried, key=_quality)
            decoded[number] = replace(decoded[number], doubtful=doubtful)
        return decoded, information.language

    def _alone(
        self, speech: Samples, clip: Clip, temperatures: Sequence[float], options: Mapping[str, Any]
    ) -> Decoded:
        """Decode one clip at the first of the temperatures whose result is good."""
        samples = speech[round(clip.start * SAMPLE_RATE) : round(clip.end * SAMPLE_RATE)]
        # Without the text before it, which would carry a repetition into this clip.
        segments, _ = self._model.transcribe(
            samples, temperature=list(temperatures), condition_on_previous_text=False, **options
        )
        moved = list(segments)
        for segment in moved:
            for timed in (segment, *(segment.words or ())):
                timed.start += clip.start
                timed.end += clip.start
        return Decoded(moved)

    def _report(self, block: Block, clip: Clip, decoded: Decoded, listener: Listener) -> None:
        if decoded.silent:
            return
        spoken = [segment for segment in decoded.segments if segment.text.strip()]
        # A window is padded with silence, in which Whisper may put the end of the last word.
        for segment in spoken:
            segment.start, segment.end = min(segment.start, clip.end), min(segment.end, clip.end)
        for segment in block.restore(spoken):
            words = None if segment.words is None else [asdict(word) for word in segment.words]
            listener.segment(plain_segment(segment.start, segment.end, segment.text, words), segment.text)

    def _language(self, samples: Samples) -> str:
        if not self._model.model.is_multilingual:
            return "en"
        return str(self._model.detect_language(samples[: WINDOW_SECONDS * SAMPLE_RATE])[0])


def _quality(decoded: Decoded) -> tuple[bool, float]:
    return not decoded.repetitive, decoded.likelihood


def _by_clip(passages: Iterator[Any], clips: Sequence[Clip]) -> list[Decoded]:
    """Return the segments of each clip. A segment's `seek` is the start of its clip in steps of 10 ms, rounded down."""
    segments: list[list[Any]] = [[] for _ in clips]
    starts = [clip.start for clip in clips]
    for passage in passages:
        segments[max(0, bisect(starts, passage.seek / 100 + 0.02) - 1)].append(passage)
    return [Decoded(of_clip) for of_clip in segments]
