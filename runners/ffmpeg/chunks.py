"""Encodes a long video in chunks, which are checkpoints: a later run on another miner encodes only the missing chunks.

One process of ffmpeg encodes all pictures and begins a new file at a key frame every few seconds, so that an uninterrupted
run loses no quality at the boundaries. At the end the chunks are joined without encoding them again, with the sound, which is
encoded in one piece so that it cannot click. Chunks are in NUT, which stores every timestamp exactly.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from runners.api import Context, Device, Fail, OutputFile, Tools
from runners.ffmpeg.packets import read_packets, selected_times
from runners.ffmpeg.plan import FIRST_PASS, Plan, report
from runners.ffmpeg.process import INPUT, MAX_DESCRIPTION, MediaStream, job_sandbox, probe_lines, run_ffmpeg
from runners.ffmpeg.request import TranscodeRequest
from runners.sandbox import Sandbox

CHUNK_FILES: Final = {r"chunk_\d{4}\.nut": "video/x-nut"}
"""Regular expressions of the names of checkpoints, with their media type."""

ENCODERS: Final[Mapping[str, Mapping[str, str]]] = {
    "libx264": {"forced-idr": "1", "x264-params": "stitchable=1"},
    "libx265": {"forced-idr": "1", "x265-params": "log-level=error:open-gop=0:info=0"},
    "libvpx-vp9": {},
}
"""The encoders whose chunks can be joined, with the options that make each chunk decodable without the one before.

So that all chunks have the same form, x264 does not adapt its headers to the pictures, and x265 does not describe the number of its
threads there."""

CONTAINERS: Final = ("mp4", "mov", "mkv", "webm")

MIN_SECONDS: Final = 20.0
"""Shorter videos are encoded in one piece, because starting from scratch costs little."""

MAX_SECONDS: Final = 24 * 3600.0
CHUNK_SECONDS: Final = (10.0, 600.0)
CHUNKS: Final = 100
"""Approximate number of chunks of a video, within the shortest and longest chunk in seconds."""

ORIGIN: Final = 10.0
"""The timestamp in chunks, in seconds, of the beginning: decoding times precede it, and NUT has no negative ones."""

_LIST: Final = "/chunks.txt"
_STARTS: Final = "starts.csv"


@dataclass(frozen=True, slots=True)
class _Form:
    """The properties that all chunks of a video share. `header` is the digest of the decoder's configuration."""

    codec: str
    profile: str
    width: int
    height: int
    pixels: str
    header: str


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A chunk on disk; `times` are the times of its pictures in seconds of the output, in order."""

    path: Path
    form: _Form
    times: tuple[float, ...]


class _Placed(NamedTuple):
    """A chunk and its start in seconds of the output."""

    path: Path
    start: float


@dataclass(frozen=True, slots=True)
class _Rest:
    """The pictures that remain to be encoded: the time of the first one in the source, and in the output.

    Both are in seconds of the output. Encoders count in pictures, so the two differ by less than one picture.
    """

    source: float = 0.0
    at: float = 0.0


def chunk_seconds(request: TranscodeRequest, encoder: str | None, seconds: float) -> float | None:
    """Return the length of the chunks of an output in seconds, None if it is encoded in one piece.

    An output with another frame rate is not made in chunks: the repeated pictures depend on earlier ones.
    """
    # The container must hold the pictures as the chunks have them, without encoding again.
    suited = encoder in ENCODERS and request.output_format in CONTAINERS and request.fps is None
    if not suited or not MIN_SECONDS <= seconds <= MAX_SECONDS:
        return None
    shortest, longest = CHUNK_SECONDS
    return min(max(seconds / CHUNKS, shortest), longest)


def encode_in_chunks(
    tools: Tools, device: Device, plan: Plan, length: float, source: Path, target: Path, context: Context
) -> float:
    """Write the file `target`. Return the second up to which its pictures come from an earlier run, 0 without one.

    Raises `Fail` or `Retry` as `run_ffmpeg` does.
    """
    encoding = _Encoding(tools, device, plan, length, source, context)
    chunks, remainder = encoding.resume()
    placed = [_Placed(chunk.path, chunk.times[0]) for chunk in chunks]
    resumed_until = 0.0
    if chunks:
        resumed_until = plan.seconds if remainder is None else remainder.at
    if remainder is not None:
        encoding.encode(len(chunks), remainder)
        placed += encoding.made(len(chunks), remainder)
    encoding.join(placed, target)
    return resumed_until


@dataclass(slots=True)
class _Encoding:
    """One run that encodes in chunks. `number` is that of the next chunk, `pending` are those that are not handed over yet."""

    tools: Tools
    device: Device
    plan: Plan
    length: float
    source: Path
    context: Context
    scratch: Path = field(init=False)
    number: int = 0
    starts: Mapping[str, float] = field(default_factory=dict)
    pending: list[OutputFile] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    last_checkpoint: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.scratch = self.context.work / "chunks"
        self.scratch.mkdir()

    def resume(self) -> tuple[list[_Chunk], _Rest | None]:
        """Return the usable chunks of earlier runs and the rest to encode, None if nothing remains."""
        stream = self.plan.media.video
        if _name(0) not in self.context.checkpoints or stream is None:
            return [], _Rest()
        # Checkpoints come from other miners, so they are compared with what this machine and the source say.
        form, times = self._local_form(), self._times_of_source(stream)
        chunks: list[_Chunk] = []
        pictures = 0
        while form is not None and (path := self.context.checkpoints.get(_name(len(chunks)))) is not None:
            chunk = self._read(path)
            # One bad chunk makes all later ones useless, since the pictures between them are missing.
            if chunk is None or chunk.form != form or not _agree(chunk.times, times, pictures):
                break
            chunks.append(chunk)
            pictures += len(chunk.times)
        if not chunks:
            return [], _Rest()
        if pictures == len(times):
            return chunks, None
        return chunks, _Rest(times[pictures], times[pictures] + chunks[-1].times[-1] - times[pictures - 1])

    def encode(self, number: int, remainder: _Rest) -> None:
        """Encode the rest to chunks, beginning with this number."""
        self.number = number
        options = self._options(ORIGIN + remainder.at) | {
            # ffmpeg begins a segment only at a key frame, and would otherwise wait for one that the encoder chooses.
            "force_key_frames": f"expr:gte(t,n_forced*{self.length:.3f})",
        }
        segments = {
            "f": "segment",
            "segment_format": "nut",
            "segment_list": _STARTS,
            "segment_list_type": "csv",
            "segment_time": f"{self.length:.3f}",
            "segment_start_number": str(number),
        }
        first = FIRST_PASS if self.plan.last_pass is not None else 0.0
        if first:
            self._run(
                lambda inside: self.plan.first_pass(inside, remainder.source, options),
                report(self.plan, self.context, remainder.at, (0.0, first)),
            )
        listen = report(self.plan, self.context, remainder.at, (first, 1.0))

        def on_line(line: str) -> None:
            self._collect()
            listen(line)

        name, last = "chunk_%04d.nut", self.plan.last_pass
        self._run(
            lambda inside: self.plan.pictures(
                inside, name, remainder.source, options | segments, number=last
            ),
            on_line,
        )
        self._collect(ended=True)
        self.starts = _starts(self.scratch / _STARTS)

    def made(self, number: int, remainder: _Rest) -> list[_Placed]:
        """Return the chunks of this run, beginning with this number, and the start of each."""
        paths = [self.context.output / _name(index) for index in range(number, self.number)]
        if not paths:
            raise Fail("The output is empty: the selected part of the input contains no pictures.")
        # ffmpeg's list has no time for its first chunk; the first picture's time is in the chunk.
        chunk = None if number else self._read(paths[0], decode=False)
        first = remainder.at if chunk is None else chunk.times[0]
        return [_Placed(path, self.starts.get(path.name, first)) for path in paths]

    def join(self, chunks: Sequence[_Placed], output: Path) -> None:
        """Write the output: the pictures of all chunks and the sound of the source."""
        joined = self.context.work / "joined"
        joined.mkdir()
        sandbox = self._sandbox()
        folders = {self.context.output: sandbox.read(self.context.output, "/chunks")}
        for folder in {path.parent for path in self.context.checkpoints.values()}:
            folders[folder] = sandbox.read(folder, "/checkpoints")
        listed = self.context.work / "chunks.txt"
        listed.write_text(_listing(chunks, folders), encoding="utf-8")
        target = f"{sandbox.write(joined, '/output')}/{output.name}"
        # The concat demuxer is safe here: this program wrote the list, and it names only chunks.
        reading = {
            "protocol_whitelist": "file",
            "format_whitelist": "concat,nut",
            "f": "concat",
            "safe": "0",
            "itsoffset": f"{max(0.0, chunks[0].start):.6f}",
        }
        inside = sandbox.read(self.source, INPUT)
        arguments = self.plan.joined(reading, sandbox.read(listed, _LIST), inside, target)
        units = self.plan.metered
        run_ffmpeg(sandbox, arguments, self.context, on_line=lambda _: self.context.progress(99.0, units))
        (joined / output.name).replace(output)

    def _collect(self, *, ended: bool = False) -> None:
        """Move finished chunks out of ffmpeg's reach; hand them over if the last checkpoint is old enough."""
        while self._finished(ended=ended):
            name = _name(self.number)
            target = self.context.output / name
            (self.scratch / name).replace(target)
            # The file may have made ffmpeg its own program: what it wrote is checked where it can no longer change it.
            if target.is_symlink() or not target.is_file():
                raise Fail("The input made ffmpeg write an unexpected file.")
            self.pending.append(OutputFile(target, "video/x-nut", name))
            self.number += 1
        if not ended and time.monotonic() - self.last_checkpoint >= self.tools.checkpoint_seconds:
            for file in self.pending:
                self.context.checkpoint(file)
            if self.pending:
                self.last_checkpoint = time.monotonic()
            self.pending.clear()

    def _finished(self, *, ended: bool) -> bool:
        """Return whether the next chunk is complete: ffmpeg has begun the one after it, or has ended."""
        # The segmenter closes a file only when it opens the next.
        current, following = (self.scratch / _name(self.number + step) for step in (0, 1))
        return current.exists() and (ended or following.exists())

    def _options(self, offset: float) -> dict[str, str]:
        """Return the options for chunks whose timestamps begin at `offset` seconds."""
        extra = ENCODERS[self.plan.encoder or ""]
        # Metadata come from the source when the chunks are joined; here they would only make chunks differ.
        return {**extra, "fps_mode": "vfr", "output_ts_offset": f"{offset:.6f}", "map_metadata": "-1"}

    def _run(
        self, arguments: Callable[[str], list[str]], on_line: Callable[[str], None] | None = None
    ) -> None:
        """Run ffmpeg in the directory of the chunks, with arguments for the path of the source."""
        sandbox = self._sandbox()
        target = sandbox.write(self.scratch, "/output")
        inside = sandbox.read(self.source, INPUT)
        run_ffmpeg(sandbox, arguments(inside), self.context, on_line=on_line, directory=target)

    def _sandbox(self) -> Sandbox:
        return job_sandbox(self.tools, self.device, self.context, self.began)

    def _local_form(self) -> _Form | None:
        """Return the form of the chunks that this machine makes. Chunks of another form cannot be joined with them."""
        options = self._options(ORIGIN) | {"frames:v": "1"}
        self._run(lambda inside: self.plan.pictures(inside, "sample.nut", 0.0, options | {"f": "nut"}))
        sample = self._read(self.scratch / "sample.nut")
        return None if sample is None else sample.form

    def _times_of_source(self, stream: MediaStream) -> list[float]:
        """Return the times of the source's pictures in seconds of the output, in order."""
        packets = read_packets(self.tools, self.source, self.context, stream)
        return selected_times(packets, self.plan.request)

    def _read(self, path: Path, *, decode: bool = True) -> _Chunk | None:
        """Describe a chunk. Return None unless the file is one stream of pictures, in order and, if decoded, complete."""
        lines: list[str] = []
        stream = (
            "codec_type,codec_name,profile,width,height,pix_fmt,nb_read_frames,nb_read_packets,extradata_hash"
        )
        entries = f"stream={stream}:packet=pts_time,flags"
        count = "-count_frames" if decode else "-count_packets"
        options = [count, "-show_data_hash", "sha256", "-show_entries", entries, "-of", "json=c=1"]
        try:
            probe_lines(self.tools, path, self.context, options, lines.append, limit=MAX_DESCRIPTION)
            return _described(path, json.loads("\n".join(lines)))
        except (Fail, ValueError, KeyError, TypeError, RecursionError):
            return None


def _described(path: Path, probed: Mapping[str, Any]) -> _Chunk | None:
    (stream,) = probed["streams"]
    packets = probed["packets"]
    first = float(packets[0]["pts_time"])
    times = sorted(float(packet["pts_time"]) for packet in packets)
    # A chunk that lost its end still has packets, but they do not all decode.
    is_whole = stream["codec_type"] == "video" and _pictures(stream) == len(times)
    # A picture before the first packet would need the chunk before.
    if not is_whole or times[0] != first or "K" not in packets[0]["flags"]:
        return None
    form = _Form(
        codec=str(stream["codec_name"]), profile=str(stream.get("profile")), width=int(stream["width"]),
        height=int(stream["height"]), pixels=str(stream.get("pix_fmt")), header=str(stream.get("extradata_hash")),
    )  # fmt: skip
    return _Chunk(path, form, tuple(time - ORIGIN for time in times))


def _pictures(stream: Mapping[str, Any]) -> int:
    """Return the number of decoded pictures, or of packets if these were counted instead."""
    return int(stream["nb_read_frames"] if "nb_read_frames" in stream else stream["nb_read_packets"])


def _starts(listed: Path) -> dict[str, float]:
    """Return the start of each chunk by name from ffmpeg's list, which has none for the first."""
    starts: dict[str, float] = {}
    # An input that took over ffmpeg may have replaced the list.
    if listed.is_symlink() or not listed.is_file():
        return starts
    for line in listed.read_text(encoding="utf-8", errors="replace").splitlines()[1:]:
        with suppress(ValueError):
            name, start, _ = line.split(",")
            starts[name] = float(start) - ORIGIN
    return starts


def _agree(times: Sequence[float], source: Sequence[float], offset: int) -> bool:
    """Return whether a chunk contains exactly the source's pictures after the first `offset`, each at its time."""
    expected = source[offset : offset + len(times)]
    if not times or len(expected) != len(times):
        return False
    # A picture too many or too few moves all others by one distance; rounding moves them by far less.
    distance = (source[-1] - source[0]) / max(1, len(source) - 1)
    return all(
        abs(chunk_time - expected_time) <= 0.6 * distance
        for chunk_time, expected_time in zip(times, expected, strict=True)
    )


def _listing(chunks: Sequence[_Placed], folders: Mapping[Path, str]) -> str:
    """Return the list of chunks for ffmpeg's concat demuxer; each lasts until the next begins."""
    lines = ["ffconcat version 1.0"]
    for number, chunk in enumerate(chunks):
        lines.append(f"file '{_quoted(f'{folders[chunk.path.parent]}/{chunk.path.name}')}'")
        if number + 1 < len(chunks):
            # Otherwise the demuxer takes the duration from the last packet, which many codecs do not state.
            lines.append(f"duration {chunks[number + 1].start - chunk.start:.6f}")
    return "\n".join(lines) + "\n"


def _quoted(path: str) -> str:
    # The list ends a quoted name at the next quote, like a shell.
    return path.replace("'", "'\\''")


def _name(number: int) -> str:
    return f"chunk_{number:04}.nut"
