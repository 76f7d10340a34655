"""The encoders of this machine's ffmpeg that really work, and the options of each for quality and bitrate.

A build lists the NVENC encoders wherever it was compiled with them, so those are believed only after a picture was
encoded with one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

from runners.api import (
    PROBE_SECONDS,
    Device,
    Fail,
    FailureCode,
    Retry,
    RunnerError,
    TimedOut,
    Tools,
    cached_probe,
)
from runners.ffmpeg.process import GLOBAL_OPTIONS, HIGH_DEPTH
from runners.ffmpeg.request import TranscodeRequest
from runners.sandbox import Sandbox
from runners.sandbox.watch import Ended, Limits

PROBE_MEMORY = 4 * 2**30

USUAL_SIZE = (256, 256)
USUAL_PIXELS = "yuv420p"
USUAL_DEPTH = 8

SOFTWARE: Mapping[str, tuple[str, ...]] = {
    "h264": ("libx264",),
    "hevc": ("libx265",),
    "av1": ("libsvtav1", "libaom-av1"),
    "vp9": ("libvpx-vp9",),
}
"""Encoders that run on the CPU, by codec, in order of preference."""

HARDWARE: Mapping[str, str] = {"h264": "h264_nvenc", "hevc": "hevc_nvenc", "av1": "av1_nvenc"}

AUDIO: Mapping[str, str] = {
    "aac": "aac",
    "opus": "libopus",
    "mp3": "libmp3lame",
    "flac": "flac",
    "pcm": "pcm_s16le",
    "copy": "copy",
}

_HIGH_DEPTH: Mapping[str, str] = {
    "libx265": "yuv420p10le",
    "libsvtav1": "yuv420p10le",
    "libaom-av1": "yuv420p10le",
    "hevc_nvenc": "p010le",
    "av1_nvenc": "p010le",
}
"""Encoders whose pictures keep 10 bits and HDR, with their pixel format. Most players of the other codecs support 8 bits only."""

_TWO_PASSES = ("libx264", "libx265", "libvpx-vp9", "libaom-av1")
"""Encoders with a first pass. SVT-AV1 has none in ffmpeg."""

_DEFAULT_CRF = {"libx264": 23, "libx265": 28, "libsvtav1": 35, "libaom-av1": 32, "libvpx-vp9": 32}
_DEFAULT_CQ = {"h264_nvenc": 23, "hevc_nvenc": 26, "av1_nvenc": 32}
_SPEED: Mapping[str, Mapping[str, str]] = {
    "libx264": {"preset": "medium"},
    "libx265": {"preset": "medium", "x265-params": "log-level=error"},
    "libsvtav1": {"preset": "8"},
    "libaom-av1": {"cpu-used": "6", "row-mt": "1"},
    "libvpx-vp9": {"deadline": "good", "cpu-used": "4", "row-mt": "1"},
}


def short_run(tools: Tools, program: str, *arguments: str, device: Device | None = None) -> tuple[int, str]:
    """Run ffmpeg or ffprobe without a client's file; return its exit code and standard output.

    Raises `Retry` if the program or the sandbox is missing, `TimedOut`.
    """
    lines: list[str] = []
    # CUDA reserves gigabytes of address space before the first picture.
    memory = min(PROBE_MEMORY, tools.max_memory)
    limits = Limits(memory=memory, output=2**20, seconds=PROBE_SECONDS, cpu_seconds=PROBE_SECONDS * 4)
    sandbox = Sandbox(tools, limits, device)
    outcome = sandbox.run([sandbox.program(program), *arguments], on_line=lines.append)
    if outcome.ended is Ended.DEADLINE:
        raise TimedOut(f"{program} did not end within {PROBE_SECONDS:g} s.", code=FailureCode.PROGRAM_MISSING)
    return outcome.exit_code, "\n".join(lines)


def version(tools: Tools, program: str) -> str:
    """Return the version that a program reports, such as "7.1.3". Raises `Retry` if it does not run."""
    code, text = short_run(tools, program, "-version")
    match = re.match(r"ff\w+ version n?(\d+(?:\.\d+)*|\S+)", text)
    if code != 0 or match is None:
        raise Retry(f"{program!r} is not a working ffmpeg program.", code=FailureCode.PROGRAM_MISSING)
    return match[1]


@cache
def listed(tools: Tools) -> frozenset[str]:
    """Return the names of all encoders that ffmpeg was built with."""
    code, text = short_run(tools, tools.ffmpeg, "-hide_banner", "-encoders")
    if code != 0:
        raise Retry("ffmpeg did not list its encoders.", code=FailureCode.PROGRAM_MISSING)
    # The flags of one encoder: its kind, then five abilities, each a letter or a point.
    return frozenset(re.findall(r"^ [VAS][F.][S.][X.][B.][D.] (\S+)", text, flags=re.MULTILINE))


@cache
def converts_hdr(tools: Tools) -> bool:
    """Return whether ffmpeg has the filters that convert HDR to SDR."""
    code, text = short_run(tools, tools.ffmpeg, "-hide_banner", "-filters")
    names = set(re.findall(r"^ [T.][S.][C.] (\S+)", text, flags=re.MULTILINE))
    return code == 0 and {"zscale", "tonemap"} <= names


def hardware_works(
    tools: Tools,
    encoder: str,
    device: Device | None,
    size: tuple[int, int] = USUAL_SIZE,
    pixels: str = USUAL_PIXELS,
) -> bool:
    """Return whether an NVENC encoder can encode one picture of this size and pixel format.

    `device` is the GPU, None for any of this machine. Each encoder has a least and a greatest size, which depend on the card.
    """
    if encoder not in listed(tools):
        return False
    try:
        return _encodes(tools, encoder, device, size, pixels)
    except RunnerError:
        return False


@cached_probe
def _encodes(tools: Tools, encoder: str, device: Device | None, size: tuple[int, int], pixels: str) -> bool:
    probe_device = device or Device("cuda", "any")
    width, height = size
    source = f"color=black:size={width}x{height}:rate=25:duration=0.04,format={pixels}"
    encode = ("-frames:v", "1", "-c:v", encoder, "-f", "null", "-")
    command = (tools.ffmpeg, *GLOBAL_OPTIONS, "-f", "lavfi", "-i", source, *encode)
    code, _ = short_run(tools, *command, device=probe_device)
    return code == 0


def working(tools: Tools, device: Device | None = None) -> dict[str, list[str]]:
    """Return the working encoders by codec, hardware first, without codecs that have none."""
    encoders: dict[str, list[str]] = {}
    for codec, software in SOFTWARE.items():
        hardware = HARDWARE.get(codec, "")
        # A list of the build is not enough; see the module.
        names = [hardware] if hardware and hardware_works(tools, hardware, device) else []
        names += [name for name in software if name in listed(tools)]
        if names:
            encoders[codec] = names
    return encoders


def choose(
    tools: Tools,
    device: Device,
    request: TranscodeRequest,
    size: tuple[int, int] = USUAL_SIZE,
    depth: int = 8,
) -> str:
    """Return the encoder for pictures of this size, whose source has `depth` bits for each color component.

    Raises `Retry` if only another machine may have a suitable one.
    """
    codec = request.video_codec
    if codec in ("copy", "gif"):
        return codec
    if codec is None:
        raise Fail(f"{request.output_format!r} cannot contain pictures.")
    hardware = HARDWARE.get(codec)
    allowed = request.hardware != "off" and device.kind == "cuda"
    if allowed and hardware is not None:
        pixels = pixel_format(hardware, depth)
        if hardware_works(tools, hardware, device, size, pixels):
            return hardware
    if request.hardware == "required":
        raise Retry(
            f"No hardware encoder for {codec} works on {device.name} with pictures of {size[0]}x{size[1]}.",
            code=FailureCode.HARDWARE_UNAVAILABLE,
        )
    return software(tools, codec)


def software(tools: Tools, codec: str) -> str:
    """Return the encoder for a codec that runs on the CPU. Raises `Retry` if ffmpeg has none."""
    for name in SOFTWARE[codec]:
        if name in listed(tools):
            return name
    raise Retry(f"This machine's ffmpeg has no encoder for {codec}.", code=FailureCode.ENCODER_UNAVAILABLE)


def keeps_depth(encoder: str) -> bool:
    """Return whether pictures keep 10 bits and HDR with this encoder; others get 8 bits and SDR."""
    return encoder == "copy" or encoder in _HIGH_DEPTH


def retained_depth(encoder: str) -> int:
    """Return how many bits of each color component pictures keep at most with this encoder."""
    return HIGH_DEPTH if encoder in _HIGH_DEPTH else USUAL_DEPTH


def pixel_format(encoder: str, depth: int) -> str:
    """Return the pixel format for an encoder and a source with `depth` bits for each color component."""
    return _HIGH_DEPTH.get(encoder, USUAL_PIXELS) if depth >= HIGH_DEPTH else USUAL_PIXELS


def video_options(encoder: str, request: TranscodeRequest, depth: int, threads: int) -> dict[str, str]:
    """Return ffmpeg's output options for pictures whose source has `depth` bits for each color component."""
    options = {"c:v": encoder}
    if encoder in ("copy", "gif"):
        return options
    options |= {"pix_fmt": pixel_format(encoder, depth)} | dict(_SPEED.get(encoder, {}))
    if encoder not in _DEFAULT_CQ:
        # By default, each encoder starts a thread for every core of the machine, also if this job has fewer.
        options["threads"] = str(threads)
    if request.video_codec == "hevc" and request.output_format in ("mp4", "mov"):
        # Players of Apple refuse the usual tag "hev1".
        options["tag:v:0"] = "hvc1"
    return options | _rate(encoder, request)


def _rate(encoder: str, request: TranscodeRequest) -> dict[str, str]:
    if request.bitrate is not None and encoder in _DEFAULT_CQ:
        return {"preset": "p5", "rc": "vbr", "b:v": request.bitrate, "multipass": "fullres"}
    if request.bitrate is not None:
        return {"b:v": request.bitrate}
    if encoder in _DEFAULT_CQ:
        quality = request.quality if request.quality is not None else _DEFAULT_CQ[encoder]
        # A bitrate of 0 lifts the default of 2 Mbit/s, which would override the quality.
        return {"preset": "p5", "rc": "vbr", "cq": str(quality), "b:v": "0"}
    quality = request.quality if request.quality is not None else _DEFAULT_CRF[encoder]
    constant = {"crf": str(quality)}
    # Without a bitrate of 0, these encoders take the factor as a limit of their default bitrate.
    return constant | {"b:v": "0"} if encoder.startswith(("libvpx", "libaom")) else constant


def takes_two_passes(encoder: str, request: TranscodeRequest) -> bool:
    """Return whether the pictures are encoded twice: the first pass analyses them, so that the second meets the bitrate.

    NVENC does both in one run.
    """
    return request.bitrate is not None and encoder in _TWO_PASSES


def pass_options(number: int, options: Mapping[str, str]) -> dict[str, str]:
    """Return the options of an encoder for its first or second pass. Both run in the same current directory."""
    if options["c:v"] != "libx265":
        return {**options, "pass": str(number), "passlogfile": "pass"}
    # x265 would otherwise analyse as thoroughly as it encodes, for a slightly better second pass.
    quick = ":slow-firstpass=0" if number == 1 else ""
    return {**options, "x265-params": f"{options['x265-params']}:pass={number}:stats=pass.log{quick}"}


def audio_options(request: TranscodeRequest, channels: Sequence[int]) -> dict[str, str]:
    """Return ffmpeg's output options for sound tracks with these numbers of channels.

    Opus gets at most stereo, because it refuses some layouts.
    """
    options = {"c:a": AUDIO[request.sound_codec]}
    if request.audio_bitrate is not None:
        options["b:a"] = request.audio_bitrate
    if request.sound_codec == "opus":
        options |= {f"ac:a:{number}": "2" for number, count in enumerate(channels) if count > 2}  # noqa: PLR2004 - stereo
    return options
