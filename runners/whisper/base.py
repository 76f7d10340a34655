"""What all engines share: the interface of a loaded model, the sound that they get, and the form of segments.

The engines' modules import this one, and `engines`, which chooses between them, imports theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from runners.api import Model
from runners.whisper.request import Engine, TranscribeRequest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Samples = NDArray[np.float32]

SAMPLE_RATE: Final = 16_000
"""Samples per second of Whisper's input, which has one channel."""

WINDOW_SECONDS: Final = 30
"""The sound that Whisper decodes at once."""

FILES: Final[Mapping[Engine, tuple[tuple[str, ...], ...]]] = {
    "faster-whisper": ((
        "model.bin", "config.json", "preprocessor_config.json", "tokenizer.json", "vocabulary.json", "vocabulary.txt",
    ),),
    "openai-whisper": (("model.pt",),),
    "onnx-asr": (
        ("encoder-model.onnx", "decoder_joint-model.onnx", "vocab.txt", "config.json", "encoder-model.onnx.data"),
        ("encoder-model.int8.onnx", "decoder_joint-model.int8.onnx", "vocab.txt", "config.json"),
    ),
}  # fmt: skip
"""The files of a model in each engine's formats, best first. The first of a format holds the weights; a model need not have all others."""

REPETITIVE: Final = 2.4
UNLIKELY: Final = -1.0
SILENT: Final = 0.6
"""Whisper's own thresholds: the compression ratio of a text, the mean logarithm of its tokens' probabilities, and the
probability that there is no speech (section 4.5 of "Robust Speech Recognition via Large-Scale Weak Supervision")."""

DOUBT: Final = 0.1
"""How close to a threshold a text is doubtful: another machine's numbers differ a little. Of the compression ratio, this share."""


class Listener(Protocol):
    """Receives an engine's progress. All methods may raise, which ends the transcription."""

    def reached(self, seconds: float, language: str | None) -> None:
        """The sound before `seconds` is transcribed and all its segments were reported. `language` is None while unknown.

        Called at least once for every window or batch of windows.
        """

    def segment(self, segment: Mapping[str, Any], text: str) -> None:
        """A segment is finished; `text` is its text with the space that precedes it. Called in order."""

    def doubtful(self, start: float, end: float) -> None:
        """What was transcribed between these times depends on chance. See `is_doubtful`."""


class TranscriptionEngine(Protocol):
    """A loaded model."""

    @property
    def weights(self) -> tuple[Path, ...]:
        """The files of its weights."""

    @property
    def precision(self) -> str:
        """The type of the weights as computed with."""

    def transcribe(self, samples: Samples, request: TranscribeRequest, listener: Listener) -> str:
        """Report the segments of samples between -1 and 1 at `SAMPLE_RATE`. Return the code of their language."""


def is_doubtful(likelihood: float, compression_ratio: float) -> bool:
    """Return whether a text that was decoded at temperature 0 may be discarded on one machine and not on another.

    Whisper discards a text that is repetitive or unlikely, and takes one that is drawn at random, or none. Two honest runs differ there.
    """
    # Both bounds are a little before Whisper's own, on the side where this machine retained the text.
    return compression_ratio > (1 - DOUBT) * REPETITIVE or likelihood < UNLIKELY + DOUBT


def weights(engine: Engine, model: Model) -> tuple[Path, ...]:
    """Return the files that an engine would load; empty if the model is missing in that engine's format."""
    for names in FILES[engine]:
        present = tuple(path for name in names if (path := model.path / name).is_file())
        # The other files may be those of another format in the same directory.
        if present and present[0].name == names[0]:
            return present
    return ()


def plain_segment(
    start: float, end: float, text: str, words: Sequence[Mapping[str, Any]] | None
) -> Mapping[str, Any]:
    """Return a segment in the form of `request.Segment` as plain JSON, without the engines' NumPy numbers."""
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
