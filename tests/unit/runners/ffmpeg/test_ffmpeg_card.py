"""Transcoding on an NVIDIA card: the command lines, and what happens where the card refuses.

No test here runs on a card.
"""

from __future__ import annotations

import dataclasses
import subprocess
import threading

import pytest

from runners.api import Device, RunnerError
from runners.ffmpeg import FFmpegRunner, encoders
from runners.ffmpeg.plan import Plan
from runners.ffmpeg.process import Color, Media, MediaStream
from runners.ffmpeg.request import TranscodeRequest
from runners.ffmpeg.sessions import session

URL = "https://example.com/video.mp4"
CARD = Device("cuda", "a card", "GPU-00000000-0000-0000-0000-000000000000", 2)
VIDEO = MediaStream(0, "video", "h264", 1920, 1080, pixels="yuv420p")


def planned(encoder, video=VIDEO, **fields):
    request = TranscodeRequest(input_url=URL, audio_codec="none", **fields)
    return Plan(request, Media("mov", 10.0, video), 10.0, encoder, 2)


def graph(video=VIDEO, encoder="hevc_nvenc", **fields):
    plan = dataclasses.replace(planned(encoder, video, **fields), on_card=True)
    arguments = plan.arguments("in", "out")
    found = arguments[arguments.index("-filter_complex") + 1]
    return found.removeprefix("[0:0]").rpartition("[")[0]


def test_pictures_stay_on_the_card_from_the_decoder_to_the_encoder():
    plan = dataclasses.replace(planned("h264_nvenc", resolution="1280x720", bitrate="4M"), on_card=True)
    arguments = plan.arguments("in", "out")
    until_input = arguments[: arguments.index("-i")]
    assert until_input[until_input.index("-hwaccel") :][:4] == [
        "-hwaccel",
        "cuda",
        "-hwaccel_output_format",
        "cuda",
    ]
    after = arguments[arguments.index("-i") + 2 :]
    scaled = "[0:0]scale_cuda=1280:720:format=nv12[s0];[s0]setsar=1[s1]"
    assert after[:4] == ["-filter_complex", scaled, "-map", "[s1]"]
    expected = {"-b:v": "4M", "-c:v": "h264_nvenc", "-multipass": "fullres", "-preset": "p5", "-rc": "vbr"}
    options = dict(zip(after[4:-1:2], after[5::2], strict=False))
    assert expected.items() <= options.items()
    assert "-pix_fmt" not in options, "it would download the pictures"


@pytest.mark.parametrize(
    ("video", "fields", "expected"),
    [
        ({}, {}, "scale_cuda=trunc(iw*sar/2)*2:trunc(ih/2)*2:format=nv12[s0];[s0]setsar=1"),
        (
            {},
            {"resolution": "640x480", "fit": "contain"},
            "scale_cuda=640:480:force_divisible_by=2:force_original_aspect_ratio=decrease:format=nv12[s0];[s0]setsar=1",
        ),
        ({}, {"resolution": "640x480", "fit": "stretch"}, "scale_cuda=640:480:format=nv12[s0];[s0]setsar=1"),
        (
            {},
            {"resolution": "640x480"},
            (
                "scale_cuda=640:480:force_divisible_by=2:force_original_aspect_ratio=decrease:format=nv12[s0];"
                "[s0]hwdownload[s1];[s1]format=nv12[s2];[s2]pad=640:480:(ow-iw)/2:(oh-ih)/2[s3];[s3]setsar=1"
            ),
        ),
        (
            {"codec": "hevc", "pixels": "yuv420p10le", "depth": 10},
            {"resolution": "1280x720", "fps": 25},
            "scale_cuda=1280:720:format=p010le[s0];[s0]setsar=1[s1];[s1]fps=25",
        ),
    ],
)
def test_the_card_scales_as_the_processor_does(video, fields, expected):
    found = graph(dataclasses.replace(VIDEO, **video), **fields).replace("\\\\\\\\", "")
    assert found == expected


HDR = Color("smpte2084", "bt2020", "bt2020nc")


@pytest.mark.parametrize(
    ("encoder", "video", "fits"),
    [
        ("h264_nvenc", {}, True),
        ("libx264", {}, False),
        ("hevc_nvenc", {"rotated": True}, False),
        ("hevc_nvenc", {"pixels": "yuv444p"}, False),
        ("hevc_nvenc", {"pixels": "yuv420p10le", "depth": 10}, False),
        ("hevc_nvenc", {"codec": "hevc", "pixels": "yuv420p10le", "depth": 10, "color": HDR}, True),
        ("h264_nvenc", {"codec": "hevc", "pixels": "yuv420p10le", "depth": 10, "color": HDR}, False),
        ("h264_nvenc", {"codec": "ffv1"}, False),
    ],
)
def test_files_that_cards_cannot_decode_or_convert_are_decoded_by_the_processor(encoder, video, fits):
    assert planned(encoder, dataclasses.replace(VIDEO, **video)).fits_card is fits


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "size=1920x1080:rate=25:duration=0.04,format=yuv420p"),
        ({"resolution": "144x96"}, "size=144x96:rate=25:duration=0.04,format=yuv420p"),
        ({"resolution": "640x640", "fit": "contain"}, "size=640x360:rate=25:duration=0.04,format=yuv420p"),
        ({"codec": "hevc", "depth": 10}, "size=1920x1080:rate=25:duration=0.04,format=p010le"),
    ],
)
def test_the_encoder_is_probed_with_the_jobs_size_and_pixel_format(
    tools, monkeypatch, tmp_path, fields, expected
):
    """Each has a least and a greatest size, which depend on the card."""
    run = []
    monkeypatch.setattr(encoders, "listed", lambda _: {"h264_nvenc", "hevc_nvenc"})
    monkeypatch.setattr(encoders, "short_run", lambda *arguments, **_: run.append(arguments) or (0, ""))
    tools = dataclasses.replace(tools, cache_dir=tmp_path)  # not probed before
    depth = fields.pop("depth", 8)
    plan = planned(None, **fields)
    chosen = encoders.choose(tools, CARD, plan.request, plan.size, depth)
    assert chosen == encoders.HARDWARE[plan.request.video_codec]
    (arguments,) = run
    assert arguments[arguments.index("-i") + 1].partition("color=black:")[2] == expected


@pytest.fixture
def attempts(tools, make_context, clip, monkeypatch):
    """Run a job on a machine whose card refuses everything; return how each attempt used the card, and the result."""
    monkeypatch.setattr(encoders, "hardware_works", lambda *_: True)

    def run(source=clip, **fields):
        made = []
        runner = FFmpegRunner(dataclasses.replace(tools, nvenc_sessions=1), CARD)
        encode = runner._encode

        def recorded(plan, *arguments):
            made.append((plan.encoder, plan.on_card))
            return encode(plan, *arguments)

        monkeypatch.setattr(runner, "_encode", recorded)
        request = TranscodeRequest(input_url=URL, duration=0.2, **fields)
        try:
            return made, runner.run(request, make_context({"input_url": source}))
        except RunnerError as error:
            return made, error

    return run


def test_a_card_that_cannot_decode_still_encodes_and_one_that_cannot_encode_is_replaced(attempts):
    made, result = attempts()
    assert made == [("h264_nvenc", True), ("h264_nvenc", False), ("libx264", False)]
    assert result.results["codec"] == "h264"
    made, error = attempts(hardware="required")
    assert made == [("h264_nvenc", True), ("h264_nvenc", False)]
    assert error.code == "HARDWARE_FAILED"


@pytest.fixture
def damaged(clip, tmp_path):
    """A file whose pictures or sound were never written, as after a download that was interrupted, by the kind of stream."""

    def damage(kind):
        entries = ("-select_streams", kind, "-show_entries", "packet=pos,size", "-of", "csv=p=0")
        command = ["ffprobe", "-loglevel", "error", *entries, str(clip)]
        listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
        content = bytearray(clip.read_bytes())
        for line in listed.split():
            size, position = map(int, line.split(",")[:2])
            content[position : position + size] = bytes(size)
        target = tmp_path / "damaged.mp4"
        target.write_bytes(content)
        return target

    return damage


@pytest.mark.parametrize("kind", ["v", "a"])
def test_a_damaged_input_is_not_the_cards_fault(attempts, damaged, kind):
    """Else one file would take the cards of all miners out of service, one after the other."""
    made, error = attempts(damaged(kind), hardware="required")
    assert made[-1] == ("h264_nvenc", False)
    assert error.code == "INPUT_INVALID"
    assert str(error).startswith("ffmpeg could not convert this input: ")


def test_damage_that_the_output_does_not_contain_is_none(attempts, damaged):
    _, error = attempts(damaged("a"), hardware="required", audio_codec="none")
    assert error.code == "HARDWARE_FAILED"


def test_a_video_without_a_free_session_is_encoded_on_the_processor(attempts, tools, make_context):
    with session(dataclasses.replace(tools, nvenc_sessions=1), make_context(), wait=False) as held:
        assert held
        made, result = attempts()
    assert made == [("libx264", False)]
    assert result.results["codec"] == "h264"


def test_a_video_that_requires_hardware_waits_for_a_session(tools, make_context):
    tools = dataclasses.replace(tools, nvenc_sessions=2)
    waiting, release = make_context(), threading.Event()
    waiting.on_progress = release.set
    with session(tools, make_context(), wait=True), session(tools, make_context(), wait=True) as second:
        assert second
        with session(tools, make_context(), wait=False) as third:
            assert not third

    def hold():
        with session(tools, make_context(), wait=False), session(tools, make_context(), wait=False):
            holding.set()
            assert release.wait(60)

    holding = threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    assert holding.wait(60)
    with session(tools, waiting, wait=True) as held:
        assert held
        assert release.is_set(), "it reported progress while it waited"
    thread.join(60)
