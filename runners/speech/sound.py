"""Writes sound in the formats of requests while it is made.

PyAV encodes in this process: what it reads is the samples of our own engines, never a file of a client, and a program in the sandbox gives
nothing away before its end.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from runners.speech.request import SoundFormat

if TYPE_CHECKING:
    from runners.speech.base import Samples

FULL_SCALE: Final = 2**15
"""The 16-bit sample that is 1."""

RATE: Final = 24_000
"""Samples per second of all files: what clients expect of "pcm", which does not state it."""


@dataclass(frozen=True, slots=True)
class Container:
    """A format and codec of FFmpeg's. One that is not `streamed` gets its final header at the end, so nothing of it is published before."""

    muxer: str
    codec: str
    suffix: str
    media_type: str
    streamed: bool = True
    bit_rate: int | None = None
    options: dict[str, str] = field(default_factory=dict)


FORMS: Final[dict[SoundFormat, Container]] = {
    # Without the header at the beginning, whose content is known at the end.
    "mp3": Container(
        "mp3", "libmp3lame", "mp3", "audio/mpeg", bit_rate=96_000,
        options={"write_xing": "0", "id3v2_version": "0"},
    ),
    "opus": Container("ogg", "libopus", "opus", "audio/ogg", bit_rate=48_000, options={"page_duration": "200000"}),
    "aac": Container("adts", "aac", "aac", "audio/aac", bit_rate=96_000),
    "flac": Container("flac", "flac", "flac", "audio/flac", streamed=False),
    "wav": Container("wav", "pcm_s16le", "wav", "audio/wav", streamed=False),
    "pcm": Container("s16le", "pcm_s16le", "pcm", "audio/pcm"),
}  # fmt: skip


class SoundFile:
    """A file to which samples are added. `publish` gets the bytes of a streamed format as they are written."""

    def __init__(
        self, path: Path, name: SoundFormat, rate: int, publish: Callable[[bytes], None] | None
    ) -> None:
        import av  # noqa: PLC0415 - the coordinator imports the runner without its engine

        form = FORMS[name]
        self._rate = rate
        self._publish = publish if form.streamed else None
        self._file = path.open("wb")
        self._samples = 0
        # Without a way to seek, nothing is changed that has been published.
        target: Any = self if form.streamed else self._file
        self._container = av.open(target, "w", format=form.muxer, options=form.options)
        stream: Any = self._container.add_stream(form.codec, rate=RATE, layout="mono")
        if form.bit_rate is not None:
            stream.bit_rate = form.bit_rate
        self._stream = stream

    @property
    def seconds(self) -> float:
        """The duration so far."""
        return self._samples / self._rate

    def add(self, samples: Samples) -> None:
        """Encode samples between -1 and 1."""
        frame = _frame(samples.clip(-1, 1), self._rate)
        frame.pts, frame.time_base = self._samples, Fraction(1, self._rate)
        self._samples += len(samples)
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Write what is left."""
        self._container.mux(self._stream.encode(None))
        self.close()

    def close(self) -> None:
        """Close the file, finished or not."""
        if not self._file.closed:
            self._container.close()
            self._file.close()

    def write(self, content: bytes) -> int:
        """Receive encoded bytes from FFmpeg."""
        self._file.write(content)
        if self._publish is not None:
            self._publish(bytes(content))
        return len(content)


def floats(integers: array[int]) -> Samples:
    """Return 16-bit samples as numbers between -1 and 1."""
    import numpy as np  # noqa: PLC0415 - the coordinator imports the runner without its engine

    return np.asarray(integers, dtype=np.float32) / np.float32(FULL_SCALE)


def resampled(samples: Samples, rate: int, target: int) -> Samples:
    """Return samples at `rate` as samples at `target` per second."""
    import av  # noqa: PLC0415 - as above

    converter = av.AudioResampler(format="flt", layout="mono", rate=target)
    converted = av.AudioFifo()
    for part in (_frame(samples, rate), None):
        for piece in converter.resample(part):
            piece.pts = None
            converted.write(piece)
    joined = converted.read()
    if joined is None:
        return samples[:0]
    plain: Any = joined.to_ndarray()
    result: Samples = plain.ravel()
    return result


def _frame(samples: Samples, rate: int) -> Any:
    import av  # noqa: PLC0415 - as above

    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout="mono")
    frame.sample_rate = rate
    return frame
