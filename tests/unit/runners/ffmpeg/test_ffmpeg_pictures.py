"""What the pictures look like: high dynamic range, 10 bits, rotation, and the times of pictures at a variable rate."""

from __future__ import annotations

import json
import subprocess

import pytest

from runners.api import Retry
from runners.ffmpeg import runner

HDR10 = (
    "log-level=error:hdr10=1:repeat-headers=1:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"
    ":master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"
)
BLACK, DARK, WHITE, BRIGHT = 64, 385, 573, 722
"""Numbers of 10 bits for 0, 20, 203 (white paper) and 1,000 candelas per square metre in PQ (SMPTE ST 2084)."""


@pytest.fixture
def hdr(make_media):
    """Make an HDR10 video of four grey stripes, from black to a bright light."""

    def make(seconds=1, rate=10, transfer="smpte2084"):
        level = f"if(lt(X,32),{BLACK},if(lt(X,64),{DARK},if(lt(X,96),{WHITE},{BRIGHT})))"
        picture = f"nullsrc=size=128x64:rate={rate}:duration={seconds},format=yuv420p10le,geq=lum='{level}':cb=512:cr=512"
        color = ("-color_primaries", "bt2020", "-color_trc", transfer, "-colorspace", "bt2020nc")
        codec = ("-c:v", "libx265", "-preset", "ultrafast", "-qp", "4")
        parameters = HDR10.replace("smpte2084", transfer)
        return make_media("hdr.mp4", "-f", "lavfi", "-i", picture, *codec, "-x265-params", parameters, *color)

    return make


def described(path):
    """Return ffprobe's description of the pictures and of the first of them."""
    command = ["ffprobe", "-v", "error", "-select_streams", "v", "-show_streams", "-show_frames"]
    command += ["-read_intervals", "%+#1", "-of", "json", str(path)]
    found = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=300).stdout)
    return found["streams"][0], found["frames"][0]


def color_of(stream):
    return tuple(stream.get(name) for name in ("pix_fmt", "color_transfer", "color_primaries", "color_space"))


def stripes(path, pixels):
    """Return the brightness in the middle of each stripe of the first picture, in the numbers of the pixel format."""
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-i",
        str(path),
        "-frames:v",
        "1",
        "-f",
        "rawvideo",
        "-pix_fmt",
        pixels,
        "-",
    ]
    data = subprocess.run(command, capture_output=True, check=True, timeout=300).stdout
    size = 1 if pixels == "gray" else 2
    row = data[32 * 128 * size : 33 * 128 * size]
    return [int.from_bytes(row[x * size : (x + 1) * size], "little") for x in (16, 48, 80, 112)]


def side_data(frame):
    return {entry["side_data_type"]: entry for entry in frame.get("side_data_list", [])}


@pytest.mark.ship
@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
@pytest.mark.parametrize("fields", [{"codec": "h264"}, {"codec": "vp9", "output_format": "webm"}])
def test_hdr_is_tone_mapped_for_codecs_of_8_bits(transcode, hdr, fields, transfer):
    """Black stays black, white paper is bright, and a light that is brighter still differs from it."""
    result, _ = transcode(hdr(transfer=transfer), **fields)
    path = result.results["file"].path
    stream, frame = described(path)
    assert color_of(stream) == ("yuv420p", "bt709", "bt709", "bt709")
    assert "Mastering display metadata" not in side_data(frame)
    black, dark, white, bright = stripes(path, "gray")
    assert black <= 20
    assert black < dark < white < bright
    if transfer == "smpte2084":
        assert 25 < dark < 110
        assert 150 < white < 225
        assert bright - white > 10


@pytest.mark.ship
@pytest.mark.parametrize(
    "fields",
    [{"codec": "hevc"}, {"codec": "av1"}, {"codec": "hevc", "resolution": "128x64", "output_format": "mkv"}],
)
def test_hdr_stays_intact_in_codecs_of_10_bits(transcode, hdr, fields):
    source = hdr()
    result, _ = transcode(source, quality=12, **fields)
    path = result.results["file"].path
    stream, frame = described(path)
    assert color_of(stream) == ("yuv420p10le", "smpte2084", "bt2020", "bt2020nc")
    data = side_data(frame)
    assert _fraction(data["Mastering display metadata"]["max_luminance"]) == pytest.approx(1000, rel=0.01)
    assert data["Content light level metadata"]["max_content"] == 1000
    assert stripes(path, "gray10le") == pytest.approx(stripes(source, "gray10le"), abs=8)


def test_hdr_goes_to_another_miner_where_ffmpeg_cannot_convert_it(transcode, hdr, monkeypatch):
    monkeypatch.setattr(runner, "converts_hdr", lambda _: False)
    with pytest.raises(Retry, match="zscale") as caught:
        transcode(hdr(), codec="h264")
    assert caught.value.code == "ENCODER_UNAVAILABLE"
    assert transcode(hdr(), codec="hevc")[0].results["codec"] == "hevc"


def _fraction(text):
    numerator, denominator = text.split("/")
    return int(numerator) / int(denominator)


@pytest.mark.ship
def test_chunks_keep_hdr(transcode, hdr):
    """A video that is long enough to be encoded in chunks."""
    result, _ = transcode(hdr(seconds=21), codec="hevc")
    stream, frame = described(result.results["file"].path)
    assert color_of(stream) == ("yuv420p10le", "smpte2084", "bt2020", "bt2020nc")
    assert {"Mastering display metadata", "Content light level metadata"} <= side_data(frame).keys()


@pytest.mark.ship
@pytest.mark.parametrize(
    ("codec", "pixels"), [("hevc", "yuv420p10le"), ("av1", "yuv420p10le"), ("h264", "yuv420p")]
)
def test_10_bits_survive_where_players_support_them(transcode, make_media, codec, pixels):
    deep = make_media(
        "deep.mkv", "-f", "lavfi", "-i", "testsrc2=size=128x72:rate=10:duration=0.5", "-pix_fmt", "yuv420p10le",
        "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error",
    )  # fmt: skip
    result, _ = transcode(deep, codec=codec)
    assert color_of(described(result.results["file"].path)[0])[0] == pixels


@pytest.mark.ship
def test_a_phones_rotated_video_is_upright(transcode, clip, tmp_path):
    """The rotation is applied; a copy keeps it as it is."""
    rotated = tmp_path / "phone.mp4"
    turn = ["ffmpeg", "-v", "error", "-display_rotation", "90", "-i", str(clip), "-c", "copy", str(rotated)]
    subprocess.run(turn, check=True, timeout=300)
    width, height = 320, 180
    result, _ = transcode(rotated, codec="h264")
    assert (result.results["width"], result.results["height"]) == (height, width)
    assert "side_data_list" not in described(result.results["file"].path)[0]
    copied, _ = transcode(rotated, codec="copy", audio_codec="copy")
    (matrix,) = described(copied.results["file"].path)[0]["side_data_list"]
    assert matrix["rotation"] == 90


@pytest.mark.ship
def test_a_recording_of_a_screen_keeps_the_time_of_every_picture(transcode, make_media):
    """Pictures at a variable rate are neither repeated nor omitted."""
    recording = make_media(
        "screen.mkv", "-f", "lavfi", "-i", "testsrc2=size=128x72:rate=50:duration=4",
        "-vf", "select='lt(n,20)+not(mod(n,7))'", "-fps_mode", "vfr", "-c:v", "libx264", "-preset", "ultrafast",
    )  # fmt: skip
    result, _ = transcode(recording, codec="hevc")
    expected = times(recording)
    assert len(expected) > 20
    assert times(result.results["file"].path) == pytest.approx(expected, abs=0.0015)


def times(path):
    command = [
        "ffprobe",
        "-v",
        "error",
        "-select_streams",
        "v",
        "-show_entries",
        "packet=pts_time",
        "-of",
        "csv=p=0",
    ]
    listed = subprocess.run(
        [*command, str(path)], capture_output=True, text=True, check=True, timeout=300
    ).stdout
    return sorted(float(line.strip(",")) for line in listed.split())
