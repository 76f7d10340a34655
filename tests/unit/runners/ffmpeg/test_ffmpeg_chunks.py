"""Videos that are encoded in chunks, and runs that resume from another miner's chunks."""

from __future__ import annotations

import dataclasses
import subprocess
import time

import pytest

from runners.ffmpeg import FFmpegRunner
from runners.ffmpeg import chunks as ffmpeg_chunks
from runners.ffmpeg.plan import Plan
from runners.ffmpeg.process import inspect
from runners.ffmpeg.request import TranscodeRequest

pytestmark = pytest.mark.ship

URL = "https://example.com/video.mp4"
SECONDS = 24


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Moving pictures at a fractional frame rate, with sound and a title."""
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    picture = f"testsrc2=size=128x72:rate=30000/1001:duration={SECONDS}"
    sound = f"sine=frequency=440:duration={SECONDS}"
    make(path, "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, "-metadata", "title=Chunks")
    return path


def make(path, *arguments):
    codec = ("-pix_fmt", "yuv420p", "-preset", "ultrafast")
    subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments, *codec, path], check=True, timeout=300)


@pytest.fixture
def transcode(tools, device, make_context, video):
    """Run a request with the checkpoints of another run; return the results and the context."""

    def run(checkpoints=(), file=video, every=1e-9, **fields):
        context = make_context({"input_url": file})
        for name, content in dict(checkpoints).items():
            context.checkpoints[name] = context.resumed_from / name
            context.checkpoints[name].write_bytes(content)
        runner = FFmpegRunner(dataclasses.replace(tools, checkpoint_seconds=every), device)
        request = TranscodeRequest(input_url=URL, **fields)
        return runner.run(request, context).results, context

    return run


def handed_over(context):
    return {file.name: file.path.read_bytes() for file in context.handed_over}


def output(*arguments):
    command = [str(argument) for argument in arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


def times(path):
    listed = output(
        *("ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "packet=pts_time"),
        *("-of", "csv=p=0", path),
    )
    return sorted(float(line.strip(",")) for line in listed.split())


def sound(path):
    """Return a digest of the decoded sound."""
    return output("ffmpeg", "-v", "error", "-i", path, "-map", "0:a", "-f", "md5", "-")


def likeness(one, other):
    """Return the similarity of the worst pair of pictures in dB: above 25 for the same picture, below 20 for others."""
    command = ["ffmpeg", "-i", str(one), "-i", str(other), "-lavfi", "[0:v][1:v]psnr", "-f", "null", "-"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stderr
    return float(said.rpartition(" min:")[2].split()[0])


@pytest.mark.parametrize(
    "fields",
    [
        {"codec": "h264", "output_format": "mp4"},
        {"codec": "hevc", "output_format": "mov"},
        {"codec": "vp9", "output_format": "webm"},
        {"codec": "h264", "output_format": "mkv", "start": 1.3, "duration": 22.0, "bitrate": "200k"},
    ],
    ids=lambda fields: f"{fields['codec']}-{fields['output_format']}",
)
def test_a_run_resumes_after_the_chunks_of_another(transcode, monkeypatch, fields):
    """No picture is missing, repeated or late; the sound equals that of one piece."""
    whole, first = transcode(**fields)
    chunks = handed_over(first)
    assert "resumed_until" not in whole
    assert next(iter(chunks)) == "chunk_0000.nut"
    resumed, second = transcode({"chunk_0000.nut": chunks["chunk_0000.nut"]}, **fields)
    monkeypatch.setattr(ffmpeg_chunks, "MIN_SECONDS", 1000.0)
    plain, third = transcode(**fields)
    assert third.handed_over == []
    assert resumed.pop("resumed_until") == pytest.approx(10, abs=0.1)
    assert "chunk_0000.nut" not in handed_over(second)
    # Until it reports its progress, it only shows that it works.
    assert min(percent for percent, _ in second.reported if percent) >= 100 * 9 / SECONDS
    expected = times(plain["file"].path)
    for results in (whole, resumed):
        path = results["file"].path
        assert times(path) == pytest.approx(expected, abs=0.0015)
        assert sound(path) == sound(plain["file"].path)
        assert likeness(path, plain["file"].path) > 25
        assert {**results, "file": None} == pytest.approx({**plain, "file": None})
    assert second.output in resumed["file"].path.parents


@pytest.fixture
def reused(tools, device, make_context, video):
    """Return how many chunks a run reuses with this one as the first."""

    def run(content):
        context = make_context({"input_url": video})
        context.checkpoints["chunk_0000.nut"] = context.resumed_from / "chunk_0000.nut"
        context.checkpoints["chunk_0000.nut"].write_bytes(content)
        plan = Plan(
            TranscodeRequest(input_url=URL, codec="h264"),
            inspect(tools, video, context), float(SECONDS), "libx264", device.threads,
        )  # fmt: skip
        encoding = ffmpeg_chunks._Encoding(tools, device, plan, 10.0, video, context, time.monotonic())
        return len(encoding.resume()[0])

    return run


def test_an_invalid_chunk_is_encoded_again(transcode, reused, tmp_path):
    """A chunk is refused if it is cut, late, of another size or length, has another stream, or is not a video."""
    _, context = transcode(codec="h264")
    good = handed_over(context)["chunk_0000.nut"]

    def changed(name, *options):
        (tmp_path / "good.nut").write_bytes(good)
        path = tmp_path / f"{name}.nut"
        command = ["ffmpeg", "-v", "error", "-y", "-copyts", "-i", tmp_path / "good.nut", *options, path]
        subprocess.run(command, check=True, timeout=300)
        return path.read_bytes()

    encode = ("-c:v", "libx264", "-preset", "ultrafast")
    bad = {
        "cut": good[: len(good) // 2],
        "damaged": good[: len(good) // 2] + bytes(2000) + good[len(good) // 2 + 2000 :],
        "empty": b"",
        "text": b"ffconcat version 1.0\nfile '/etc/passwd'\n",
        "other size": changed("size", *encode, "-vf", "scale=64:36"),
        "other settings": changed("settings", *encode),
        "fewer pictures": changed("fewer", *encode, "-vf", "select='mod(n,2)'", "-fps_mode", "vfr"),
        "late": changed("late", "-c", "copy", "-output_ts_offset", "5"),
        "two streams": changed("two", "-map", "0:v", "-map", "0:v", "-c", "copy"),
        "playlist": b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n",
    }
    assert {name: reused(content) for name, content in bad.items()} == dict.fromkeys(bad, 0)
    assert reused(good) == 1


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"codec": "h264"}, 19.9),
        ({"codec": "h264", "fps": 25}, 100),
        ({"codec": "av1"}, 100),
        ({"codec": "copy"}, 100),
        ({"output_format": "gif"}, 100),
        ({"output_format": "mp3"}, 100),
    ],
)
def test_outputs_that_are_encoded_in_one_piece(fields, seconds):
    request = TranscodeRequest(input_url=URL, **fields)
    encoder = {"h264": "libx264", "av1": "libsvtav1", "copy": "copy"}.get(request.video_codec)
    assert ffmpeg_chunks.chunk_seconds(request, encoder, seconds) is None


@pytest.mark.parametrize(("seconds", "length"), [(20, 10), (60, 10), (7200, 72), (86_400, 600)])
def test_longer_videos_have_longer_chunks(seconds, length):
    request = TranscodeRequest(input_url=URL, codec="h264")
    assert ffmpeg_chunks.chunk_seconds(request, "libx264", seconds) == length


def test_a_short_run_hands_over_no_checkpoint(transcode):
    results, context = transcode(every=600.0, codec="h264")
    assert context.handed_over == []
    assert results["duration"] == pytest.approx(SECONDS, abs=0.1)
