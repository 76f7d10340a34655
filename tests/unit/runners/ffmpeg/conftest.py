"""Runs of the transcoding runner."""

from __future__ import annotations

import pytest

from runners.ffmpeg import FFmpegRunner
from runners.ffmpeg.request import TranscodeRequest


@pytest.fixture
def transcode(tools, device, make_context):
    """Run one request on a file; return the result and the context."""

    def run(file, timeout=60.0, **fields):
        context = make_context({"input_url": file}, timeout)
        request = TranscodeRequest(input_url="https://example.com/video.mp4", **fields)
        return FFmpegRunner(tools, device).run(request, context), context

    return run
