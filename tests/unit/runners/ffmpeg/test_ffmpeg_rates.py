"""Outputs of a requested bitrate, which are encoded twice."""

from __future__ import annotations

import subprocess

import pytest

pytestmark = pytest.mark.ship

TARGET = 120_000


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """Six seconds, half of them hardly changing and half of them noise, which one pass cannot foresee."""
    path = tmp_path_factory.mktemp("uneven") / "uneven.mkv"
    still = "testsrc2=size=128x72:rate=10:duration=3,fps=1,fps=10"
    noise = "testsrc2=size=128x72:rate=10:duration=3,noise=alls=60:allf=t"
    graph = f"{still}[a];{noise}[b];[a][b]concat"
    command = ["ffmpeg", "-v", "error", "-filter_complex", graph, "-c:v", "ffv1", path]
    subprocess.run(command, check=True, timeout=300)
    return path


def rate(path):
    """Return the bits per second of the pictures."""
    command = [
        "ffprobe",
        "-v",
        "error",
        "-select_streams",
        "v",
        "-show_entries",
        "packet=size",
        "-of",
        "csv=p=0",
    ]
    listed = subprocess.run([*command, path], capture_output=True, text=True, check=True, timeout=120).stdout
    return sum(int(line.strip(",")) for line in listed.split()) * 8 / 6


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("h264", ("-c:v", "libx264")),
        ("hevc", ("-c:v", "libx265", "-x265-params", "log-level=error")),
        ("vp9", ("-c:v", "libvpx-vp9", "-deadline", "good", "-cpu-used", "4")),
    ],
)
def test_two_passes_come_nearer_to_the_bitrate_than_one(transcode, uneven, tmp_path, codec, options):
    once = tmp_path / "once.mkv"
    encoding = ("-pix_fmt", "yuv420p", *options, "-b:v", str(TARGET))
    subprocess.run(["ffmpeg", "-v", "error", "-i", uneven, *encoding, once], check=True, timeout=300)
    result, context = transcode(uneven, output_format="mkv", codec=codec, bitrate="120k")
    twice = result.results["file"].path
    assert abs(rate(twice) - TARGET) < abs(rate(once) - TARGET) / 2, (rate(once), rate(twice))
    percents = [percent for percent, _ in context.reported]
    assert percents == sorted(percents)
    assert context.reported[-1][1] <= result.units
