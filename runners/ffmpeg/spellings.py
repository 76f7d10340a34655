"""Usual spellings of codecs, containers and resolutions, and what they mean in a request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

CODECS: Final = {
    "h265": "hevc", "h.265": "hevc", "x265": "hevc", "libx265": "hevc",
    "h.264": "h264", "avc": "h264", "x264": "h264", "libx264": "h264",
    "libvpx-vp9": "vp9", "libsvtav1": "av1", "libaom-av1": "av1",
}  # fmt: skip
AUDIO_CODECS: Final = {"libopus": "opus", "libmp3lame": "mp3", "aac-lc": "aac"}
CONTAINERS: Final = {
    "matroska": "mkv",
    "quicktime": "mov",
    "mpeg4": "mp4",
    "m4v": "mp4",
    "wave": "wav",
    "oga": "ogg",
}

_NAMED: Final = {
    "4k": "3840x2160",
    "uhd": "3840x2160",
    "hd": "1280x720",
    "fullhd": "1920x1080",
    "fhd": "1920x1080",
}
_HEIGHT: Final = re.compile(r"(\d{2,4})p")
_SIZE: Final = re.compile(r"(\d{0,5})\s*[x\u00d7*:]\s*(\d{0,5})")

_TIME: Final = re.compile(r"(?:(\d{1,3}):)?(\d{1,4}):(\d{2}(?:\.\d{1,6})?)")

RESOLUTION: Final = r"^(\d{2,4}x\d{2,4}|\d{2,4}x|x\d{2,4}|\d{3,4}p|4k)$"
"""The spellings that the published schema names."""


def normal(values: Mapping[str, Any], longest: int) -> dict[str, Any]:
    """Return a request's values in the spelling of its model. Values of other types stay as they are.

    A resolution with one side, or one like `720p`, leaves the picture's shape alone: it fits into that size, whose open side is `longest`.
    """
    spelt = dict(values)
    for name, spellings in (("codec", CODECS), ("audio_codec", AUDIO_CODECS), ("output_format", CONTAINERS)):
        if isinstance(value := spelt.get(name), str):
            plain = value.strip().lower().removeprefix(".")
            spelt[name] = spellings.get(plain, plain)
    for name in ("start", "duration", "end"):
        if isinstance(value := spelt.get(name), str) and (match := _TIME.fullmatch(value.strip())):
            spelt[name] = int(match[1] or 0) * 3600 + int(match[2]) * 60 + float(match[3])
    if isinstance(resolution := spelt.get("resolution"), str):
        size, keeps_shape = _size(resolution.strip().lower(), longest)
        spelt["resolution"] = size
        if keeps_shape:
            spelt.setdefault("fit", "contain")
    return spelt


def _size(text: str, longest: int) -> tuple[str, bool]:
    """Return a size as WIDTHxHEIGHT, and whether it only limits the picture. An unknown spelling is returned unchanged."""
    if text in _NAMED:
        return _NAMED[text], True
    if (match := _HEIGHT.fullmatch(text)) is not None:
        height = int(match[1])
        return f"{round(height * 16 / 9 / 2) * 2}x{height}", True
    if (match := _SIZE.fullmatch(text)) is None or not (match[1] or match[2]):
        return text, False
    return f"{match[1] or longest}x{match[2] or longest}", not (match[1] and match[2])
