"""Usual spellings of codecs, containers and resolutions are understood."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runners.ffmpeg.request import TranscodeRequest

URL = "https://example.com/v.mp4"


def read(**fields: Any) -> TranscodeRequest:
    """The request that a coordinator reads from JSON."""
    return TranscodeRequest.model_validate_json(json.dumps({"input_url": URL, **fields}), strict=True)


@pytest.mark.parametrize(
    ("given", "codec"),
    [("h265", "hevc"), ("H.265", "hevc"), ("x264", "h264"), ("AV1", "av1"), ("hevc", "hevc")],
)
def test_codecs_have_several_names(given: str, codec: str) -> None:
    assert read(codec=given).codec == codec


@pytest.mark.parametrize(
    ("given", "size", "fit"),
    [
        ("720p", (1280, 720), "contain"),
        ("480p", (854, 480), "contain"),
        ("4K", (3840, 2160), "contain"),
        ("1280x", (1280, 8192), "contain"),
        ("x720", (8192, 720), "contain"),
        ("1280 \u00d7 720", (1280, 720), "pad"),
        ("1280:720", (1280, 720), "pad"),
        ("1280x720", (1280, 720), "pad"),
    ],
)
def test_resolutions_have_several_spellings(given: str, size: tuple[int, int], fit: str) -> None:
    """One with an open side retains the picture's shape, unless the request says how to fit it."""
    request = read(resolution=given)
    assert (request.size, request.fit) == (size, fit)
    assert read(resolution=given, fit="stretch").fit == "stretch"


def test_an_open_side_follows_from_the_picture(transcode: Any, clip: Any) -> None:
    """The clip is 16:9, so that 720p in small is 144p of 256 columns."""
    result, _ = transcode(clip, output_format="mp4", resolution="x144", duration=0.2)
    assert (result.results["width"], result.results["height"]) == (256, 144)


@pytest.mark.parametrize(("given", "seconds"), [("1:30", 90), ("0:05.5", 5.5), ("1:02:03", 3723), (7, 7)])
def test_times_may_have_minutes(given: Any, seconds: float) -> None:
    assert read(start=given).start == seconds


def test_containers_have_several_names() -> None:
    assert read(output_format=".MKV").output_format == "mkv"
    assert read(output_format="quicktime").output_format == "mov"
