"""Makes a video of rendered frames."""

from __future__ import annotations

import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from runners.api import Context, Device, FailureCode, OutputFile, Retry, Tools
from runners.ffmpeg.encoders import SOFTWARE, choose, software, video_options
from runners.ffmpeg.process import job_limits, run_ffmpeg
from runners.ffmpeg.request import TranscodeRequest
from runners.sandbox import Sandbox

NAME = "video.mp4"

QUALITY = 18
"""Constant rate factor: visually close to the frames themselves."""

PERCENT = 98.0
"""Progress while the video is encoded, which takes a fraction of the rendering time."""

_LIST = "/frames.txt"
_FRAMES = "/frames"

_GRAPH = "scale=trunc(iw/2)*2:trunc(ih/2)*2:out_color_matrix=bt709:out_range=tv"
"""H.264 requires even sizes; video players assume the colours of HD."""


_REQUEST = TranscodeRequest(input_url="frames", output_format="mp4", codec="h264", quality=QUALITY)


def video_encoder(tools: Tools, device: Device) -> str:
    """Return the encoder for videos. Raises `Retry` without one; call it before hours of rendering."""
    return choose(tools, device, _REQUEST)


def make_video(
    tools: Tools,
    device: Device,
    encoder: str,
    frames: Sequence[OutputFile],
    fps: float,
    seconds: float,
    context: Context,
    units: Decimal,
) -> OutputFile:
    """Encode the frames in order. Raises `Fail` or `Retry` with the reason if that fails.

    `units` are reported with the progress; `seconds` is the time limit.
    """
    scratch = context.work / "video"
    scratch.mkdir()
    began = time.monotonic()

    def report(_: str) -> None:
        context.progress(PERCENT, units)

    # A card that fails must not cost the client the rendered frames.
    encoders = (encoder,) if encoder in SOFTWARE["h264"] else (encoder, software(tools, "h264"))
    for h264_encoder in encoders:
        seconds_left = max(1.0, seconds - (time.monotonic() - began))
        sandbox = Sandbox(tools, job_limits(tools, device, seconds_left), device)
        arguments = _arguments(sandbox, h264_encoder, frames, fps, context, scratch)
        try:
            run_ffmpeg(
                sandbox, arguments, context, on_line=report, hardware=h264_encoder not in SOFTWARE["h264"]
            )
            break
        except Retry as error:
            # The frames took far longer than their video will on the processor.
            if error.code != FailureCode.HARDWARE_FAILED or h264_encoder == encoders[-1]:
                raise
    video = context.output / NAME
    (scratch / NAME).replace(video)
    return OutputFile(video, "video/mp4", NAME)


def _arguments(
    sandbox: Sandbox, encoder: str, frames: Sequence[OutputFile], fps: float, context: Context, scratch: Path
) -> list[str]:
    """Grant reading the frames and writing to `scratch`; return ffmpeg's command line."""
    threads = sandbox.device.threads if sandbox.device is not None else 1
    options = video_options(encoder, _REQUEST, depth=8, threads=max(1, threads))
    rendered = sandbox.read(context.output, _FRAMES)
    listed = context.work / "frames.txt"
    listed.write_text(
        "".join(f"file '{rendered}/{frame.path.relative_to(context.output)}'\n" for frame in frames),
        encoding="utf-8",
    )
    target = f"{sandbox.write(scratch, '/output')}/{NAME}"
    # The concat demuxer is safe here: this program wrote the list, and it names only frames.
    reading = ["-protocol_whitelist", "file", "-format_whitelist", "concat,png_pipe,jpeg_pipe,image2"]
    source = ["-r", f"{fps:.6f}", "-f", "concat", "-safe", "0", "-i", sandbox.read(listed, _LIST)]
    encoding = [word for name, value in options.items() for word in (f"-{name}", value)]
    # Without these, players guess the colours by the size of the picture.
    colours = [
        word for name in ("colorspace", "color_primaries", "color_trc") for word in (f"-{name}", "bt709")
    ]
    return [*reading, *source, "-vf", _GRAPH, *encoding, *colours, "-movflags", "+faststart", target]
