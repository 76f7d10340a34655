"""What a conversion keeps besides the pictures, and what it says about the rest."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from runners.api import Fail
from runners.ffmpeg.carried import depth_warning
from runners.ffmpeg.plan import Plan
from runners.ffmpeg.process import Media, MediaStream
from runners.ffmpeg.request import TranscodeRequest

SUBTITLES = (
    "1\n00:00:00,500 --> 00:00:01,500\nGood morning\n\n2\n00:00:02,000 --> 00:00:03,000\n<i>Welcome</i>\n"
)
CHAPTERS = ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=2000\ntitle=One\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=2000\nEND=4000\ntitle=Two\n"


def run(*words):
    return subprocess.run([*map(str, words)], check=True, timeout=300, capture_output=True, text=True).stdout


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    """Make a film of 10 bits with two sound and two subtitle tracks, two chapters, a font and a cover."""
    folder = tmp_path_factory.mktemp("film")
    made = {}

    def make(seconds=4):
        if seconds in made:
            return made[seconds]
        (folder / "film.srt").write_text(SUBTITLES)
        (folder / "chapters.txt").write_text(CHAPTERS)
        (folder / "font.ttf").write_bytes(b"a font")
        run(
            "ffmpeg",
            "-v",
            "error",
            "-y",
            "-f",
            "lavfi",
            "-i",
            "color=red:size=32x32",
            "-frames:v",
            "1",
            folder / "cover.jpg",
        )
        picture, sound = f"testsrc2=size=128x72:rate=10:duration={seconds}", f"sine=duration={seconds}"
        path = folder / f"film{seconds}.mkv"
        run(
            "ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, "-f", "lavfi", "-i", sound,
            "-i", folder / "film.srt", "-i", folder / "film.srt", "-i", folder / "chapters.txt",
            "-map", "0", "-map", "1", "-map", "2", "-map", "3", "-map", "4", "-map_chapters", "5",
            "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error", "-pix_fmt", "yuv420p10le", "-c:a", "flac",
            "-metadata:s:a:0", "language=fra", "-metadata:s:a:1", "language=eng", "-metadata:s:s:1", "language=deu",
            "-c:s:0", "srt", "-c:s:1", "ass",
            "-attach", folder / "font.ttf", "-metadata:s:t:0", "mimetype=application/x-truetype-font",
            "-attach", folder / "cover.jpg", "-metadata:s:t:1", "mimetype=image/jpeg", "-metadata:s:t:1", "filename=cover.jpg", path,
        )  # fmt: skip
        made[seconds] = path
        return path

    return make


def described(path):
    """Return the streams by kind, and the chapters."""
    found = json.loads(run("ffprobe", "-v", "error", "-show_streams", "-show_chapters", "-of", "json", path))
    streams = {}
    for stream in found["streams"]:
        kind = "cover" if stream["disposition"]["attached_pic"] else stream["codec_type"]
        streams.setdefault(kind, []).append(stream)
    return streams, found["chapters"]


DEPTH = "The pictures' 10 bits per color become 8 with"
FONT = "1 attached file is left out"
COVER = "The cover picture is left out"
TRACKS = "Only the first of 2 sound tracks"


@pytest.mark.ship
@pytest.mark.parametrize(
    ("seconds", "fields", "retained", "warnings"),
    [
        (4, {"output_format": "mkv", "codec": "hevc"}, {"audio": 2, "subtitle": ["subrip", "ass"], "attachment": 1, "chapters": 2}, [COVER]),
        (4, {"output_format": "mkv"}, {"audio": 2, "subtitle": ["subrip", "ass"], "attachment": 1, "chapters": 2}, [DEPTH, COVER]),
        (4, {"output_format": "mp4"}, {"audio": 2, "subtitle": ["mov_text", "mov_text"], "cover": 1, "chapters": 2}, [DEPTH, FONT]),
        (4, {"output_format": "webm"}, {"audio": 2, "subtitle": ["webvtt", "webvtt"], "chapters": 2}, [DEPTH, FONT, COVER]),
        (4, {"output_format": "webm", "audio_codec": "copy", "codec": "av1"}, None, []),
        (4, {"output_format": "mov", "codec": "copy", "audio_codec": "none"}, {"subtitle": ["mov_text", "mov_text"], "chapters": 2}, [FONT, COVER]),
        (21, {"output_format": "mp4", "codec": "hevc"}, {"audio": 2, "subtitle": ["mov_text", "mov_text"], "cover": 1, "chapters": 2}, [FONT]),
        (21, {"output_format": "mkv"}, {"audio": 2, "subtitle": ["subrip", "ass"], "attachment": 1, "chapters": 2}, [DEPTH, COVER]),
        (4, {"output_format": "mp3"}, {"audio": 1, "cover": 1, "chapters": 2}, [TRACKS]),
        (4, {"output_format": "flac", "start": 1}, {"audio": 1, "cover": 1}, [TRACKS, "The 2 chapters are left out"]),
        (4, {"output_format": "wav"}, {"audio": 1}, [TRACKS, COVER, "chapters"]),
    ],
    ids=["mkv", "mkv of 8 bits", "mp4", "webm", "copied sound", "copied pictures", "mp4 in chunks", "mkv in chunks", "mp3", "flac", "wav"],
)  # fmt: skip
def test_what_the_container_can_hold_is_carried_over_and_the_rest_is_named(
    transcode, film, seconds, fields, retained, warnings
):
    if retained is None:
        with pytest.raises(Fail):  # the first track decides, as before
            transcode(film(seconds), **fields)
        return
    result, context = transcode(film(seconds), **fields)
    streams, chapters = described(result.results["file"].path)
    found = {name: len(streams[name]) for name in ("audio", "cover", "attachment") if name in streams}
    found |= {"subtitle": [one["codec_name"] for one in streams["subtitle"]]} if "subtitle" in streams else {}
    found |= {"chapters": len(chapters)} if chapters else {}
    assert found == retained
    assert len(streams.get("video", ())) == (fields["output_format"] in ("mkv", "mp4", "webm", "mov"))
    given = result.results.get("warnings", [])
    assert len(given) == len(warnings), given
    assert all(any(words in line for line in given) for words in warnings), given
    assert {("ffmpeg", line) for line in given} <= set(context.lines), "the job's log has them too"
    if found.get("audio") == 2:
        assert [one["tags"]["language"] for one in streams["audio"]] in (["fra", "eng"], ["fre", "eng"])
    if fields.get("codec") == "hevc":
        assert streams["video"][0]["pix_fmt"] == "yuv420p10le"


@pytest.mark.parametrize(
    ("fields", "warning"),
    [
        ({"output_format": "mp4"}, "The HDR pictures become SDR of 8 bits with h264. Choose codec hevc or av1 to keep HDR."),
        ({"output_format": "mp4", "codec": "hevc"}, "The pictures' 12 bits per color become 10 with hevc."),
    ],
)  # fmt: skip
def test_lost_bits_are_named(fields, warning):
    codec = fields.get("codec", "h264")
    hdr = codec == "h264"
    assert depth_warning(codec, 10 if hdr else 12, 8 if hdr else 10, hdr=hdr) == warning
    assert depth_warning("hevc", 10, 10, hdr=True) is None
    assert depth_warning("h264", 8, 8, hdr=False) is None


@pytest.mark.ship
def test_lost_bits_and_channels_of_sound_are_named(transcode, make_media):
    fine = make_media(
        "fine.flac",
        "-f",
        "lavfi",
        "-i",
        "sine=duration=1",
        "-sample_fmt",
        "s32",
        "-strict",
        "-2",
        "-bits_per_raw_sample",
        "24",
    )
    result, _ = transcode(fine, output_format="wav")
    assert result.results["warnings"] == ["The sound's 24 bits become 16 in wav. Choose flac to keep them."]
    surround = make_media(
        "surround.flac", "-f", "lavfi", "-i", "sine=duration=1", "-af", "aformat=channel_layouts=5.1"
    )
    result, _ = transcode(surround, output_format="ogg")
    assert "6 channels become stereo with opus" in result.results["warnings"][0]


def test_warnings_of_ffmpeg_are_in_the_jobs_log(transcode, film, tmp_path):
    """Without addresses and paths of the machine. They do not replace the reason of a failure."""
    cut = tmp_path / "cut.mkv"
    content = film().read_bytes()
    cut.write_bytes(content[: len(content) * 2 // 3])
    _, context = transcode(cut, output_format="mkv")
    lines = [line for source, line in context.lines if source == "ffmpeg"]
    assert lines
    assert not any(str(tmp_path) in line or " @ 0x" in line for line in lines)


@pytest.mark.ship
@pytest.mark.parametrize(
    ("seconds", "fields", "codecs"),
    [
        (4, {"output_format": "mp4"}, ["mov_text", "mov_text"]),
        (4, {"output_format": "webm"}, ["webvtt", "webvtt"]),
        (4, {"output_format": "mkv", "codec": "hevc"}, ["subrip", "ass"]),
        (21, {"output_format": "mp4"}, ["mov_text", "mov_text"]),
    ],
    ids=["mp4", "webm", "mkv", "in chunks"],
)
def test_subtitles_and_chapters_are_carried_over(transcode, film, seconds, fields, codecs):
    result, _ = transcode(film(seconds), **fields)
    path = result.results["file"].path
    command = ["ffprobe", "-v", "error", "-show_streams", "-show_chapters", "-of", "json", str(path)]
    found = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=300).stdout)
    tracks = [stream for stream in found["streams"] if stream["codec_type"] == "subtitle"]
    assert [track["codec_name"] for track in tracks] == codecs
    assert tracks[1]["tags"]["language"] in ("deu", "ger")
    sounds = [stream for stream in found["streams"] if stream["codec_type"] == "audio"]
    assert sounds[0]["tags"]["language"] in ("fra", "fre")
    assert [chapter["tags"]["title"] for chapter in found["chapters"]] == ["One", "Two"]
    read = ["ffmpeg", "-v", "error", "-i", str(path), "-map", "0:s:0", "-f", "srt", "-"]
    text = subprocess.run(read, capture_output=True, text=True, check=True, timeout=300).stdout
    shown = re.fullmatch(
        r"1\n00:00:00,(\d+) --> 00:00:01,\d+\nGood morning\n\n2\n00:00:02,.*Welcome.*", text, re.DOTALL
    )
    assert shown is not None, text
    assert 500 <= int(shown[1]) < 540  # the encoded sound begins up to a frame earlier


def test_subtitles_that_the_container_cannot_hold_are_named():
    """Subtitles of a Blu-ray are pictures."""
    picture, subtitle = (
        MediaStream(0, "video", "h264", 128, 72),
        MediaStream(1, "subtitle", "hdmv_pgs_subtitle"),
    )
    media = Media("matroska", 4.0, picture, (), (subtitle,))

    def plan(form):
        return Plan(
            TranscodeRequest(input_url="https://example.com/a", output_format=form), media, 4.0, "libx264", 1
        )

    assert plan("mp4").warnings == [
        "mp4 cannot contain the subtitles in the format hdmv_pgs_subtitle. Choose mkv to keep them."
    ]
    assert (plan("mkv").warnings, plan("mkv").carried.subtitles) == ([], {1: "copy"})
