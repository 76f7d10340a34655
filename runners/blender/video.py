"""Makes a video of rendered frames."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from runners.api import Context, Device, OutputFile, Tools
from runners.ffmpeg.encoders import choose, video_options
from runners.ffmpeg.process import job_limits, run_ffmpeg
from runners.ffmpeg.request import TranscodeRequest
from runners.sandbox import Sandbox

NAME = "video.mp4"

QUALITY = 18
"""Constant rate factor: what a viewer takes for the frames themselves."""

PERCENT = 98.0
"""Progress while the video is made; encoding takes a fraction of the rendering."""

_LIST = "/frames.txt"
_FRAMES = "/frames"

_GRAPH = "scale=trunc(iw/2)*2:trunc(ih/2)*2:out_color_matrix=bt709:out_range=tv"
"""H.264 needs even sizes; video players take the colours of HD for given."""


_REQUEST = TranscodeRequest(input_url="frames", output_format="mp4", codec="h264", quality=QUALITY)


def video_encoder(tools: Tools, device: Device) -> str:
    """The encoder for videos. Raises `Retry` if there is none: better before hours of rendering than after."""
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
    """Encode the frames in order. Raises `Fail` or `Retry` saying why that failed.

    `units` are those to report meanwhile; `seconds` is how long it may take.
    """
    scratch = context.work / "video"
    scratch.mkdir()
    options = video_options(encoder, _REQUEST, max(1, device.threads))
    sandbox = Sandbox(tools, job_limits(tools, device, max(1.0, seconds)), device)
    rendered = sandbox.read(context.output, _FRAMES)
    listed = context.work / "frames.txt"
    listed.write_text(
        "".join(f"file '{rendered}/{frame.path.relative_to(context.output)}'\n" for frame in frames),
        encoding="utf-8",
    )
    target = f"{sandbox.write(scratch, '/output')}/{NAME}"
    # The list is ours and names only our frames, so the concat demuxer may be used on it.
    reading = ["-protocol_whitelist", "file", "-format_whitelist", "concat,png_pipe,jpeg_pipe,image2"]
    source = ["-r", f"{fps:.6f}", "-f", "concat", "-safe", "0", "-i", sandbox.read(listed, _LIST)]
    encoding = [word for name, value in options.items() for word in (f"-{name}", value)]
    colours = [
        word for name in ("colorspace", "color_primaries", "color_trc") for word in (f"-{name}", "bt709")
    ]
    run_ffmpeg(
        sandbox,
        [*reading, *source, "-vf", _GRAPH, *encoding, *colours, "-movflags", "+faststart", target],
        context,
        on_line=lambda _: context.progress(PERCENT, units),
    )
    made = context.output / NAME
    (scratch / NAME).replace(made)
    return OutputFile(made, "video/mp4", NAME)
