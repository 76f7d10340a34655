"""The packets of a stream: the times of its pictures and their sizes, without decoding them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runners.api import Context, Tools
from runners.ffmpeg.process import MAX_PACKETS, MediaStream, probe_lines
from runners.ffmpeg.request import TranscodeRequest

ROUNDING: Final = 1e-6
"""Rounding difference of timestamps in seconds: they are written with six decimals."""


@dataclass(frozen=True, slots=True)
class Packets:
    """The packets of one stream in the order of their times (seconds after the file's start), with their sizes in bytes."""

    times: Sequence[float]
    sizes: Sequence[int]

    @property
    def gap(self) -> float:
        """The mean time between two packets in seconds; 0 for fewer than two."""
        return (self.times[-1] - self.times[0]) / (len(self.times) - 1) if len(self.times) > 1 else 0.0

    @property
    def seconds(self) -> float:
        """The duration of all packets."""
        return self.times[-1] - self.times[0] + self.gap if self.times else 0.0


def read_packets(tools: Tools, file: Path, context: Context, stream: MediaStream) -> Packets:
    """Return the packets of a stream of an untrusted file. Raises `Fail` for a file that is no media."""
    packets: list[tuple[float, int]] = []
    start = 0.0

    def note(line: str) -> None:
        nonlocal start
        kind, *values = line.split(",")
        if kind == "format" and values[0] not in ("", "N/A"):
            start = float(values[0])
        # The flag D is a packet that players drop, such as those before an edit list's beginning.
        elif kind == "packet" and "D" not in values[-1] and values[0] not in ("", "N/A"):
            packets.append((float(values[0]), int(values[1])))

    entries = "packet=pts_time,size,flags:format=start_time"
    selected = ["-select_streams", str(stream.index), "-show_entries", entries, "-of", "csv"]
    probe_lines(tools, file, context, selected, note, limit=MAX_PACKETS)
    # They are stored in the order of decoding, which differs where pictures refer to later ones.
    packets.sort()
    return Packets([time - start for time, _ in packets], [size for _, size in packets])


def selected_times(packets: Packets, request: TranscodeRequest) -> list[float]:
    """Return the times of a source's packets that a request selects, in seconds of the output."""
    moved = (time - request.start for time in packets.times)
    length = request.length
    return [time for time in moved if time >= -ROUNDING and (length is None or time < length - ROUNDING)]
