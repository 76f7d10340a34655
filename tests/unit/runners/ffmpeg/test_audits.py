"""Videos of one miner, compared by another."""

from __future__ import annotations

import math
import subprocess

import pytest

from runners.api import Device
from runners.ffmpeg import FFmpegRunner, sound
from runners.ffmpeg.comparer import _rate, _window, picture_distances
from runners.ffmpeg.packets import Packets
from runners.ffmpeg.quality import PictureWindow, Scores
from runners.ffmpeg.request import TranscodeRequest
from support.audited import audited, calibration

pytestmark = pytest.mark.system

LIMITS = FFmpegRunner.definition.comparer.least_limits
CALIBRATIONS = [calibration("video_transcoding", "ffmpeg", name, **LIMITS) for name in ("libx264", "sound")]


@pytest.fixture(scope="module")
def auditor(tmp_path_factory):
    from runners.api import Tools  # noqa: PLC0415 - a fixture of the module needs its own

    return FFmpegRunner(
        Tools(cache_dir=tmp_path_factory.mktemp("cache")), Device("cpu", "processor", threads=2)
    )


@pytest.fixture
def audit(auditor, make_context, clip):
    """Audit a result of a request on the clip; return the comparison."""

    def run(result, fields, source=clip, **changes):
        request = TranscodeRequest(input_url="https://example.com/video.mp4", **fields)
        work = audited(result, calibrations=CALIBRATIONS, **changes)
        found = auditor.audit(request, work, make_context({"input_url": source}))
        return found.comparison

    return run


def altered(path, tmp_path, *options):
    target = tmp_path / f"altered{path.suffix}"
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", path, *options, target]
    subprocess.run(command, check=True, timeout=300)
    return {path.name: target}


@pytest.mark.ship
def test_an_honest_video_passes_and_a_cheat_does_not(transcode, audit, clip, tmp_path):
    fields = {"resolution": "160x90", "fps": 20, "bitrate": "300k"}
    result, _ = transcode(clip, **fields)
    honest = audit(result, fields)
    assert (honest.verdict, set(honest.distances)) == ("pass", {*LIMITS})
    made = result.results["file"].path
    box = "drawbox=x=40:y=20:w=60:h=40:color=red:t=fill:enable='between(n,30,35)'"
    cheat = audit(result, fields, files=altered(made, tmp_path, "-vf", box, "-af", "volume=0.5"))
    assert cheat.verdict == "fail"
    assert cheat.distances["psnr"] > 2 * LIMITS["psnr"]
    assert cheat.distances["loudness"] == pytest.approx(6, abs=1)
    assert 30 <= int(cheat.where.split()[1]) <= 35


@pytest.mark.ship
def test_half_of_the_resolution_is_found_in_noise(transcode, audit, tmp_path):
    """It loses no more of the noise than an honest encoding at this bitrate does, but it has no fine detail."""
    noise = tmp_path / "noise.mkv"
    source = ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25,noise=alls=25:allf=t", "-t", "1"]
    subprocess.run(["ffmpeg", "-v", "error", *source, "-c:v", "ffv1", noise], check=True, timeout=300)
    fields = {"bitrate": "300k"}
    result, _ = transcode(noise, **fields)
    honest = audit(result, fields, noise)
    assert (honest.verdict, honest.distances["detail"] < 1) == ("pass", True)
    half = tmp_path / "half.mp4"
    halved = ["-vf", "scale=160:90,scale=320:180,format=yuv420p", "-c:v", "libx264", "-b:v", "300k"]
    subprocess.run(["ffmpeg", "-v", "error", "-i", noise, *halved, half], check=True, timeout=300)
    cheat = audit(result, fields, noise, files={result.results["file"].path.name: half})
    assert (cheat.verdict, cheat.distances["ssim"] < LIMITS["ssim"]) == ("fail", True)
    assert cheat.distances["detail"] > 2 * LIMITS["detail"]


@pytest.mark.ship
def test_exact_figures_are_checked_before_any_encoding(transcode, audit, clip, tmp_path):
    fields = {"codec": "copy"}
    result, _ = transcode(clip, **fields)
    made = result.results["file"].path
    equal = audit(result, fields)
    assert (equal.verdict, equal.distances) == ("pass", {"copy": 0.0})
    (tmp_path / "text.mp4").write_text("no video")
    for changes, where in (
        ({"claims": {"width": 640}}, "results"),
        ({"units": result.units * 2}, "units"),
        ({"files": {made.name: tmp_path / "text.mp4"}}, "file"),
    ):
        found = audit(result, fields, **changes)
        assert (found.verdict, found.where) == ("fail", where)
    shorter = altered(made, tmp_path, "-c", "copy", "-t", "1")
    claims = {"duration": 1.0}
    assert audit(result, {"codec": "h264"}, files=shorter, claims=claims, units=0.05).where == "frames"
    assert audit(result, fields, files=shorter, claims=claims, units=0.05).reason.startswith("The packets")


@pytest.mark.ship
def test_sound_alone_is_compared(transcode, audit, clip):
    fields = {"output_format": "mp3"}
    result, _ = transcode(clip, **fields)
    assert audit(result, fields).verdict == "pass"


def test_pictures_are_measured_by_what_they_lose_beyond_the_own_encoding():
    own = Scores(0.99, (40.0, 60.0))
    assert picture_distances(own, own) == {"ssim": 0.0, "psnr": 0.0, "detail": 0.0}
    assert picture_distances(own, Scores(1.0, (50.0,))) == {"ssim": 0.0, "psnr": 0.0, "detail": 0.0}
    assert picture_distances(Scores(1.0, (), 30.0), Scores(1.0, (), 40.0))["detail"] == 10
    worse = picture_distances(own, Scores(0.978, (30.0, 60.0)))
    assert worse == {"ssim": 1.0, "psnr": 10.0, "detail": 0.0}
    assert picture_distances(Scores(1.0, (80.0,)), Scores(1.0, (50.0,)))["psnr"] == 0  # nobody sees it


def test_the_window_begins_with_a_picture_and_has_others_before_it():
    pictures = Packets([number / 10 for number in range(200)], [1000] * 200)
    assert _window(pictures, 7.44, 5.0) == PictureWindow(75, 50, pytest.approx(7.46), 10)
    assert _window(pictures, 0.0, 20.0) == PictureWindow(0, 200, pytest.approx(-0.04), 0)
    assert _window(Packets((), ()), 0.0, 5.0) is None
    assert _rate(pictures, PictureWindow(75, 50, 7.46, 10), "1M") == "80k"
    assert _rate(pictures, PictureWindow(75, 50, 7.46, 10), "10k") == "20k"


def test_sounds_are_compared_by_loudness_and_shape():
    def tone(frequency, level=8000, delay=0):
        return [int(level * math.sin(frequency * (at - delay) / sound.RATE * math.tau)) for at in range(4000)]

    same = sound.distances(tone(200), tone(200, 4000, delay=3))
    assert same["loudness"] == pytest.approx(6.02, abs=0.05)
    assert same["sound"] < 0.01
    assert sound.distances(tone(200), tone(330))["sound"] > 0.9
    assert sound.distances([0] * 4000, [3, -3] * 2000) == {"loudness": 0.0, "sound": 0.0}
    assert sound.distances(tone(200), [])["loudness"] > 40
