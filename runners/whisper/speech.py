"""Finds the speech in a recording by voice activity detection, and cuts it into clips of at most one window of Whisper.

Clips contain no pauses, so fewer windows are decoded, and none without speech. The recording is searched
block by block, so that the first clips of a long one are transcribed at once and a run can be cancelled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from runners.whisper.base import SAMPLE_RATE, WINDOW_SECONDS

if TYPE_CHECKING:
    from runners.whisper.base import Samples

PAUSE_MILLISECONDS: Final = 160
"""The shortest pause that ends a passage of speech. faster-whisper's own for batches: clips can be filled well."""

BLOCK_SECONDS: Final = 600.0
"""Detection takes about 2 ms per second of sound on one core."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A part of a block's speech. Times are seconds: `start` and `end` in the speech, `border` in the recording."""

    start: float
    end: float
    border: float


@dataclass(frozen=True, slots=True)
class Block:
    """A part of the recording that begins at `start` and ends at `end`, in seconds.

    `speech` has its samples without the pauses, `passages` the sample numbers in the block where speech begins and ends.
    """

    start: float
    end: float
    speech: Samples
    passages: Sequence[Mapping[str, int]]
    clips: Sequence[Clip]

    def restore(self, segments: Sequence[Any]) -> Iterator[Any]:
        """Convert the times of faster-whisper's segments from seconds of the speech to seconds of the recording."""
        from faster_whisper.transcribe import restore_speech_timestamps  # noqa: PLC0415 - engines are optional

        for segment in restore_speech_timestamps(segments, self.passages, SAMPLE_RATE):
            for timed in (segment, *(segment.words or ())):
                timed.start += self.start
                timed.end += self.start
            yield segment


def blocks(samples: Samples, block_seconds: float = BLOCK_SECONDS) -> Iterator[Block]:
    """Yield the blocks of a recording in order. A passage that a border would cut belongs to the next block."""
    import numpy as np  # noqa: PLC0415 - the coordinator imports the runner without it
    from faster_whisper.vad import VadOptions, get_speech_timestamps  # noqa: PLC0415 - engines are optional

    options = VadOptions(max_speech_duration_s=WINDOW_SECONDS, min_silence_duration_ms=PAUSE_MILLISECONDS)
    size = round(block_seconds * SAMPLE_RATE)
    start = 0
    while start < len(samples):
        block = samples[start : start + size]
        passages = get_speech_timestamps(block, options)
        end = len(block)
        if start + end < len(samples) and len(passages) > 1:
            end = passages.pop()["start"]
        parts = [block[passage["start"] : passage["end"]] for passage in passages]
        yield Block(
            start=start / SAMPLE_RATE,
            end=(start + end) / SAMPLE_RATE,
            speech=np.concatenate(parts) if parts else block[:0],
            passages=passages,
            clips=_clips(passages, start),
        )
        start += end


def batches(clips: Sequence[Clip], size: int) -> Iterator[Sequence[Clip]]:
    """Yield the clips in order, at most `size` at a time."""
    return (clips[first : first + size] for first in range(0, len(clips), size))


def _clips(passages: Sequence[Mapping[str, int]], start: int) -> list[Clip]:
    """Fill windows with whole passages. `start` is the block's first sample in the recording."""
    clips: list[Clip] = []
    first = last = 0
    for passage in passages:
        end = last + passage["end"] - passage["start"]
        if clips and end - first <= WINDOW_SECONDS * SAMPLE_RATE:
            clips.pop()
        else:
            first = last
        last = end
        clips.append(Clip(first / SAMPLE_RATE, end / SAMPLE_RATE, (start + passage["end"]) / SAMPLE_RATE))
    return clips
