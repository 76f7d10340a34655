"""Runs ffmpeg and ffprobe on untrusted files: sandboxed, without network, only with formats that contain media.

Playlists (HLS, DASH, concat) are not among the input formats, because they name other files and addresses.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runners.activity import sandbox_activity
from runners.api import Context, Device, Fail, FailureCode, Retry, Tools
from runners.sandbox import Sandbox, run_limits
from runners.sandbox.watch import Ended, Limits, Outcome, usual_processes

PROTOCOLS = "file,pipe"
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,asf,mpegts,mpeg,mpegvideo,m4v,mxf,nut,ivf,obu,"
    "h264,hevc,dv,rm,ogg,wav,w64,aiff,caf,au,mp3,flac,aac,ac3,eac3,amr,ape,wv,tta,gif,apng,yuv4mpegpipe"
)
"""The allowed demuxers; each reads one file and no other."""

INSPECTION_SECONDS = 120.0
INSPECTION_MEMORY = 2 * 2**30

MAX_DESCRIPTION = 2**24
"""Bytes of ffprobe's description of a file, which the runner holds in its own memory."""

MAX_PACKETS = 2**28
"""Bytes of ffprobe's list of the packets of a stream: about 28 for each, so that a day of 60 pictures per second fits."""

DESCRIBED = (
    "format=format_name,duration"
    ":stream=index,codec_type,codec_name,width,height,sample_aspect_ratio,pix_fmt,bits_per_raw_sample,bits_per_sample,"
    "color_transfer,color_primaries,color_space,channels,duration"
    ":stream_disposition=attached_pic:stream_side_data_list:chapter=id"
)
"""The entries of ffprobe's description that `parse_probe` uses. Old versions cannot select a single field of the side data."""

MAX_SIDE = 16384
MAX_PIXELS = 8192 * 8192
"""Larger pictures are refused before decoding, because they could exhaust memory."""

INPUT = "/input/media"

FULL_DISK = 2**24
"""Free bytes below which a disk may have refused ffmpeg's last write."""

GENERATION_SECONDS = 60.0
GENERATION_SIZE = 2**28
"""Limits for making a short test input, in seconds and bytes."""


HDR_TRANSFERS = ("smpte2084", "arib-std-b67")
"""ffmpeg's names of the transfer functions of HDR: PQ and HLG."""

HIGH_DEPTH = 10
"""Bits of each color component from which pictures have more detail than 8-bit codecs can store."""


@dataclass(frozen=True, slots=True)
class Color:
    """How numbers become light, in ffmpeg's names. `transfer` is always one of `HDR_TRANSFERS`."""

    transfer: str
    primaries: str
    matrix: str


@dataclass(frozen=True, slots=True)
class MediaStream:
    """One stream of a media file."""

    index: int
    """Its number in the file."""
    kind: str
    """"video", "audio", "subtitle", "attachment", "data", or "picture" for a cover."""
    codec: str
    width: int = 0
    height: int = 0
    square_pixels: bool = True
    pixels: str = ""
    """ffmpeg's name of the pixel format."""
    depth: int = 8
    """Bits of each color component or sample."""
    color: Color | None = None
    """Set for HDR only."""
    rotated: bool = False
    """Whether the pictures are stored in another orientation than they are shown."""
    channels: int = 0
    duration: float | None = None
    """In seconds, None if the file does not state it."""


@dataclass(frozen=True, slots=True)
class Media:
    """ffprobe's description of a file."""

    format: str
    duration: float | None
    """In seconds, None if the file does not state it."""
    video: MediaStream | None
    """The first video track."""
    sounds: tuple[MediaStream, ...] = ()
    subtitles: tuple[MediaStream, ...] = ()
    covers: tuple[MediaStream, ...] = ()
    attachments: tuple[MediaStream, ...] = ()
    data: tuple[str, ...] = ()
    """The codecs of streams that are neither pictures nor sound nor text."""
    videos: int = 1
    """The number of video tracks."""
    chapters: int = 0
    """The number of chapters."""

    @property
    def audio(self) -> MediaStream | None:
        """The first sound track."""
        return self.sounds[0] if self.sounds else None


def job_limits(tools: Tools, device: Device, seconds: float) -> Limits:
    """Return the limits of one run of ffmpeg in a job that has `seconds` left."""
    threads = device.threads
    cpu_seconds = seconds * max(1, threads) * 2
    return run_limits(tools, seconds, cpu_seconds=cpu_seconds, processes=usual_processes() + 16 * threads)


def job_sandbox(tools: Tools, device: Device, context: Context, began: float | None = None) -> Sandbox:
    """Return the sandbox for one run of ffmpeg, with the device, in a job that `began` at this time of the monotonic clock, by default now."""
    seconds = context.timeout_seconds - (0.0 if began is None else time.monotonic() - began)
    return Sandbox(tools, job_limits(tools, device, max(1.0, seconds)), device)


def missing_programs(tools: Tools) -> list[str]:
    """Return a sentence for the owner about each program that is missing, with its remedy."""
    return [
        f"{program} was not found; install ffmpeg (apt-get install ffmpeg) or set runners.{setting}."
        for setting, program in (("ffmpeg", tools.ffmpeg), ("ffprobe", tools.ffprobe))
        if shutil.which(program) is None
    ]


def input_options() -> dict[str, str]:
    """Return the options before every input file."""
    return {"protocol_whitelist": PROTOCOLS, "format_whitelist": FORMATS}


def input_words() -> list[str]:
    """Return `input_options` as words of a command line."""
    return [word for name, value in input_options().items() for word in (f"-{name}", value)]


def inspect(tools: Tools, file: Path, context: Context) -> Media:
    """Read a file's streams with ffprobe. Raises `Fail` (INPUT_INVALID) for any other kind of file."""
    media = parse_probe(_ffprobe(tools, file, context, "-show_entries", DESCRIBED))
    if media.video is not None:
        width, height = media.video.width, media.video.height
        if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
            raise Fail(
                f"The picture is too large ({width}x{height}); the limits are {MAX_SIDE} pixels per side and 67 megapixels."
            )
    return media


def last_timestamp(tools: Tools, file: Path, context: Context, stream: MediaStream) -> float:
    """Return the end of a stream's last packet in seconds, from the packets themselves; 0 without packets.

    Used for files that do not state their length, such as recordings of browsers.
    """
    last = 0.0

    def note(line: str) -> None:
        nonlocal last
        # Either may be "N/A".
        numbers = [float(word) for word in line.split(",") if re.fullmatch(r"-?\d+(\.\d+)?", word)]
        last = max(last, sum(numbers[:2]))

    probe_lines(
        tools,
        file,
        context,
        [
            "-select_streams",
            str(stream.index),
            "-show_entries",
            "packet=pts_time,duration_time",
            "-of",
            "csv=p=0",
        ],
        note,
        limit=None,
    )
    return last


def _ffprobe(tools: Tools, file: Path, context: Context, *options: str) -> Mapping[str, Any]:
    lines: list[str] = []
    probe_lines(tools, file, context, ["-of", "json", *options], lines.append, limit=MAX_DESCRIPTION)
    try:
        described: Mapping[str, Any] = json.loads("\n".join(lines))
    except (json.JSONDecodeError, RecursionError):
        raise Fail("The input could not be read as a media file.") from None
    return described


def probe_lines(
    tools: Tools,
    file: Path,
    context: Context,
    options: Sequence[str],
    on_line: Callable[[str], None],
    *,
    limit: int | None,
) -> None:
    """Run ffprobe on an untrusted file; `on_line` gets each line of its output.

    Raises `Fail` for other files than media, and after `limit` bytes of output, if there is one: callers that hold the lines need it.
    """
    size = 0

    def listen(line: str) -> None:
        nonlocal size
        size += len(line) + 1
        # The sandbox bounds the files that a program writes, but not what it prints.
        if limit is not None and size > limit:
            raise Fail(
                f"The input has too many streams, chapters or pictures: their list has more than {limit // 2**20} MiB. "
                "Remove those that are not needed, or split the file."
            )
        on_line(line)

    seconds = min(INSPECTION_SECONDS, context.timeout_seconds)
    memory = min(INSPECTION_MEMORY, tools.max_memory)
    sandbox = Sandbox(tools, Limits(memory=memory, output=2**20, seconds=seconds, cpu_seconds=seconds))
    program = sandbox.program(tools.ffprobe)
    path = sandbox.read(file, INPUT)
    outcome = sandbox.run(
        [program, "-hide_banner", "-loglevel", "error", *input_words(), *options, "-i", path],
        on_line=listen,
        on_tick=sandbox_activity(context),
        on_cancel=context.on_cancel,
    )
    if outcome.ended is not Ended.EXITED:
        raise Fail(f"The input could not be read within the limits ({outcome.ended}).")
    if outcome.exit_code != 0:
        raise Fail(f"The input could not be read as a media file: {last_line(outcome.stderr, path)}")


def parse_probe(described: Mapping[str, Any]) -> Media:
    """Return ffprobe's output as `Media`. Cover pictures are no video."""
    container = described.get("format", {})
    streams = [_stream(entry) for entry in described.get("streams", [])]

    def of(kind: str) -> tuple[MediaStream, ...]:
        return tuple(stream for stream in streams if stream.kind == kind)

    videos, sounds = of("video"), of("audio")
    lengths = [stream.duration for stream in (*videos[:1], *sounds[:1]) if stream.duration]
    return Media(
        format=container.get("format_name", ""),
        duration=_number(container.get("duration")) or (max(lengths) if lengths else None),
        video=videos[0] if videos else None,
        sounds=sounds,
        subtitles=of("subtitle"),
        covers=of("picture"),
        attachments=of("attachment"),
        data=tuple(stream.codec for stream in of("data")),
        videos=len(videos),
        chapters=len(described.get("chapters", [])),
    )


def _stream(entry: Mapping[str, Any]) -> MediaStream:
    picture = entry.get("disposition", {}).get("attached_pic") == 1
    width, height = int(entry.get("width", 0)), int(entry.get("height", 0))
    return MediaStream(
        index=int(entry["index"]),
        kind="picture" if picture else entry.get("codec_type", "unknown"),
        codec=entry.get("codec_name", "unknown"),
        width=width,
        height=height,
        # 0:1 means that the file says nothing.
        square_pixels=entry.get("sample_aspect_ratio", "1:1") in ("1:1", "0:1", "N/A"),
        pixels=entry.get("pix_fmt", ""),
        depth=_depth(entry.get("pix_fmt", ""))
        if entry.get("codec_type") == "video"
        else _sample_depth(entry),
        color=_color(entry),
        rotated=any(data.get("rotation", 0) for data in entry.get("side_data_list", [])),
        channels=int(entry.get("channels", 0)),
        duration=_number(entry.get("duration")),
    )


def _depth(pixels: str) -> int:
    """Return the bits of each component of a pixel format such as "yuv420p10le" or "p010le"."""
    # Names without digits at the end have 8 bits.
    match = re.search(r"(?:p|gray|p0)(\d\d)(?:le|be)$", pixels)
    return int(match[1]) if match else 8


def _sample_depth(entry: Mapping[str, Any]) -> int:
    """Return the bits of each sample of sound; 0 where a codec has no such number."""
    return int(_number(entry.get("bits_per_raw_sample")) or entry.get("bits_per_sample") or 0)


def _color(entry: Mapping[str, Any]) -> Color | None:
    transfer = entry.get("color_transfer", "")
    if transfer not in HDR_TRANSFERS:
        return None
    # A file may omit these; HDR has one usual value for each.
    return Color(transfer, entry.get("color_primaries", "bt2020"), entry.get("color_space", "bt2020nc"))


def _number(text: object) -> float | None:
    if isinstance(text, str):
        with suppress(ValueError):
            return float(text)
    return None


def run_ffmpeg(
    sandbox: Sandbox,
    arguments: Sequence[str],
    context: Context,
    *,
    on_line: Callable[[str], None] | None = None,
    hardware: bool = False,
    directory: str | None = None,
) -> None:
    """Run ffmpeg with these arguments. Raises `Fail` or `Retry` with the reason if it fails.

    `hardware` means that it uses a GPU, and `directory` is its current directory. Its own progress goes to `on_line`; while it reports
    none, as long as it skips what precedes the requested part, its use of the processor shows that it works.
    """
    command = [sandbox.program(sandbox.tools.ffmpeg), *GLOBAL_OPTIONS, *arguments]

    def log(stream: str, text: str) -> None:
        if stream == "stderr":
            context.log(_plain(text), "ffmpeg")

    outcome = sandbox.run(
        command,
        directory=directory,
        on_line=on_line,
        on_text=log,
        on_tick=sandbox_activity(context),
        on_cancel=context.on_cancel,
    )
    if outcome.ended is not Ended.EXITED or outcome.exit_code != 0:
        raise explain(outcome, context.output, hardware=hardware)


GLOBAL_OPTIONS = (
    "-nostdin",
    "-y",
    "-hide_banner",
    "-loglevel",
    "level+warning",
    "-nostats",
    "-progress",
    "pipe:1",
)


def generate(tools: Tools, target: Path, *arguments: str) -> Path:
    """Make the file `target` from ffmpeg's own sources, such as "testsrc2", for a benchmark; return `target`.

    `arguments` are the input and the codec. Raises `Retry` if this ffmpeg cannot make it.
    """
    memory = min(INSPECTION_MEMORY, tools.max_memory)
    seconds = GENERATION_SECONDS
    sandbox = Sandbox(
        tools, Limits(memory=memory, output=GENERATION_SIZE, seconds=seconds, cpu_seconds=seconds * 8)
    )
    path = f"{sandbox.write(target.parent, '/output')}/{target.name}"
    outcome = sandbox.run([sandbox.program(tools.ffmpeg), *GLOBAL_OPTIONS, *arguments, path])
    if outcome.ended is not Ended.EXITED or outcome.exit_code != 0:
        reason = last_line(outcome.stderr, path) if outcome.ended is Ended.EXITED else str(outcome.ended)
        raise Retry(
            f"This ffmpeg cannot make the test input ({reason}); install a complete build (apt-get install ffmpeg).",
            code=FailureCode.PROGRAM_MISSING,
        )
    return target


def explain(outcome: Outcome, output: Path, *, hardware: bool) -> Fail | Retry:
    """Return the error to raise for an ffmpeg that ended without a result, after it wrote to the directory `output`."""
    # Also for a failed allocation within the limit, where the sandbox has ended nothing.
    memory = "Cannot allocate memory" in outcome.stderr or "malloc of size" in outcome.stderr
    if outcome.ended is Ended.MEMORY or memory:
        return Retry(
            "Not enough memory for this job; raise runners.max_memory.", code=FailureCode.OUT_OF_MEMORY
        )
    if outcome.ended is Ended.OUTPUT or "File too large" in outcome.stderr:
        return Fail("The output is larger than this miner allows.", code=FailureCode.OUTPUT_TOO_LARGE)
    # Its messages quote names in the client's file, which must not make the machine appear faulty.
    if "No space left on device" in outcome.stderr and shutil.disk_usage(output).free < FULL_DISK:
        return Retry("The miner's disk is full.", code=FailureCode.DISK_FULL)
    if outcome.ended in (Ended.DEADLINE, Ended.CPU):
        return Fail(
            "The job took longer than its timeout_seconds; raise timeout_seconds or send less work.",
            code=FailureCode.TIMEOUT,
        )
    message = last_line(outcome.stderr, INPUT)
    if hardware:
        return Retry(f"The hardware encoder failed: {message}", code=FailureCode.HARDWARE_FAILED)
    return Fail(f"ffmpeg could not convert this input: {message}")


def last_line(stderr: str, path: str) -> str:
    """Return the last line of ffmpeg's errors, without this machine's paths and memory addresses."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    # Behind the error, ffmpeg often warns of what the error left unfinished.
    errors = [line for line in lines if "[warning] " not in line] or lines
    if not errors:
        return "it gave no reason"
    return _plain(errors[-1]).replace("[error] ", "").replace("[fatal] ", "").replace(path, "input")[:300]


def _plain(text: str) -> str:
    """Return ffmpeg's messages without memory addresses and the path of the input."""
    return re.sub(r"\s*@ 0x[0-9a-f]+", "", text).replace(INPUT, "input")
