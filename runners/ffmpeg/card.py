"""Pictures that stay in the memory of an NVIDIA card from the decoder to the encoder."""

from __future__ import annotations

from typing import Any, Final

from runners.ffmpeg.process import MediaStream
from runners.ffmpeg.request import TranscodeRequest

CODECS: Final = ("h264", "hevc", "av1", "vp8", "vp9", "mpeg2video", "mpeg4", "vc1")
"""Codecs for which there are decoders; which of them depends on the card."""

PIXELS: Final = {"yuv420p": "nv12", "p010le": "p010le"}
"""Pixel formats of encoders, and those of the same pictures in the card's memory."""

INPUT: Final = {"hwaccel": "cuda", "hwaccel_output_format": "cuda", "threads": "1"}
"""Options for reading a file whose pictures are decoded to the card's memory, where each thread would need pictures of its own."""

_SHAPED: Final = {"force_original_aspect_ratio": "decrease", "force_divisible_by": 2}


def decodes(video: MediaStream) -> bool:
    """Return whether a card may be able to decode these pictures; it cannot turn them."""
    # No card decodes H.264 with 10 bits.
    depths = ("yuv420p",) if video.codec == "h264" else ("yuv420p", "yuv420p10le")
    return video.codec in CODECS and video.pixels in depths and not video.rotated


def scaled(stream: Any, request: TranscodeRequest, video: MediaStream, pixels: str) -> Any:
    """Return the filter graph from decoded pictures to an encoder that takes this pixel format."""
    form = PIXELS[pixels]
    if not video.square_pixels or request.size is None:
        # Encoders need even sides, and most players ignore the shape of pixels that a file states.
        stream = stream.filter("scale_cuda", "trunc(iw*sar/2)*2", "trunc(ih/2)*2", format=form)
        stream = stream.filter("setsar", "1")
    if request.size is not None:
        stream = _fitted(stream, request, video, form).filter("setsar", "1")
    return stream if request.fps is None else stream.filter("fps", f"{request.fps:g}")


def _fitted(stream: Any, request: TranscodeRequest, video: MediaStream, form: str) -> Any:
    width, height = request.size or (video.width, video.height)
    same_shape = video.square_pixels and video.width * height == video.height * width
    if request.fit == "stretch" or same_shape:
        return stream.filter("scale_cuda", width, height, format=form)
    stream = stream.filter("scale_cuda", width, height, format=form, **_SHAPED)
    # There is no such filter for the card, so the pictures visit main memory.
    if request.fit == "pad":
        stream = stream.filter("hwdownload").filter("format", form)
        stream = stream.filter("pad", width, height, "(ow-iw)/2", "(oh-ih)/2")
    return stream
