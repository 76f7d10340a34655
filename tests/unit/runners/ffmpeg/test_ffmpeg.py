"""`video_transcoding` with the real ffmpeg, in the real sandbox."""

from __future__ import annotations

import dataclasses
import subprocess
import threading
import time
from decimal import Decimal

import pytest
from pydantic import ValidationError

from runners.api import Cancelled, Device, Fail, Retry
from runners.ffmpeg import FFmpegRunner, encoders
from runners.ffmpeg.request import TranscodeRequest
from runners.host.protocol import Run

pytestmark = pytest.mark.system

URL = "https://example.com/video.mp4"


def describe(path):
    command = [
        "ffprobe",
        "-v",
        "error",
        "-show_entries",
        "stream=codec_name,codec_type,width,height,r_frame_rate",
        "-of",
        "csv=p=0",
        str(path),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.ship
def test_the_references_example_gives_exactly_the_requested_size(transcode, clip):
    result, context = transcode(clip, output_format="mp4", codec="h264", resolution="640x480")
    file = result.results["file"]
    assert file.path.parent == context.output
    assert (file.media_type, file.name) == ("video/mp4", "video.mp4")
    assert {key: result.results[key] for key in ("width", "height", "codec")} == {
        "width": 640,
        "height": 480,
        "codec": "h264",
    }
    assert result.results["duration"] == pytest.approx(2, abs=0.05)
    assert result.units == Decimal(str(result.results["duration"])) * Decimal("0.3072")
    assert describe(file.path)[0].startswith("h264,video,640,480")


@pytest.mark.ship
def test_progress_rises_and_never_counts_more_than_the_result(transcode, make_media):
    long = make_media(
        "long.mkv",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=1280x720:rate=25:duration=12",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
    )
    result, context = transcode(long, codec="h264")
    percents = [percent for percent, _ in context.reported]
    assert len(percents) >= 2
    assert percents == sorted(percents)
    assert percents[-1] <= 99
    assert context.reported[-1][1] <= result.units


@pytest.mark.ship
@pytest.mark.parametrize(
    ("fields", "streams"),
    [
        ({"output_format": "webm", "resolution": "160x90"}, ["vp9,video,160,90,25/1", "opus,audio,0/0"]),
        ({"output_format": "mkv", "codec": "hevc", "resolution": "160x90", "audio_codec": "flac"}, ["hevc,video,160,90,25/1", "flac,audio,0/0"]),
        ({"output_format": "mp4", "codec": "av1", "resolution": "160x90", "audio_codec": "none"}, ["av1,video,160,90,25/1"]),
        ({"output_format": "mov", "codec": "copy", "audio_codec": "copy"}, ["h264,video,320,180,25/1", "aac,audio,0/0"]),
        ({"output_format": "gif", "resolution": "160x160", "fit": "contain", "duration": 0.5, "fps": 10}, ["gif,video,160,90,10/1"]),
        ({"output_format": "mp4", "fps": 10, "bitrate": "200k", "fit": "stretch", "resolution": "100x100"}, ["h264,video,100,100,10/1", "aac,audio,0/0"]),
    ],
)  # fmt: skip
def test_each_container_has_the_requested_streams(transcode, clip, fields, streams):
    result, _ = transcode(clip, **fields)
    assert describe(result.results["file"].path) == streams


@pytest.mark.ship
@pytest.mark.parametrize(
    ("container", "codec"),
    [("mp3", "mp3"), ("m4a", "aac"), ("ogg", "opus"), ("flac", "flac"), ("wav", "pcm_s16le")],
)
def test_sound_alone_is_metered_at_a_tenth_of_its_seconds(transcode, clip, container, codec):
    result, _ = transcode(clip, output_format=container, start=0.5, duration=1)
    assert result.results["codec"] == codec
    assert (result.results["width"], result.results["height"]) == (None, None)
    assert result.results["duration"] == pytest.approx(1, abs=0.1)
    assert result.units == round(Decimal(str(result.results["duration"])) / 10, 6)


def test_trimming_by_end_returns_the_part_between(transcode, clip):
    result, _ = transcode(clip, start=0.5, end=1.5)
    assert result.results["duration"] == pytest.approx(1, abs=0.08)


def test_odd_sizes_become_even(transcode, make_media):
    odd = make_media(
        "odd.mkv", "-f", "lavfi", "-i", "testsrc2=size=101x75:rate=25:duration=0.4", "-c:v", "ffv1"
    )
    result, _ = transcode(odd)
    assert (result.results["width"], result.results["height"]) == (100, 74)


@pytest.mark.ship
def test_a_recording_without_a_stated_length_is_measured(transcode, make_media):
    """Browsers write WebM without a duration, as ffmpeg does into a pipe."""
    live = make_media(
        "live.webm",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=160x90:rate=25:duration=1",
        "-c:v",
        "libvpx-vp9",
        "-cpu-used",
        "8",
        "-deadline",
        "realtime",
        "-live",
        "1",
        "-f",
        "webm",
    )
    result, _ = transcode(live, start=0.4)
    assert result.results["duration"] == pytest.approx(0.6, abs=0.08)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"output_format": "webm", "codec": "h264"}, "vp9, av1, copy"),
        ({"output_format": "mp3", "codec": "h264"}, "omit codec"),
        ({"output_format": "mp3", "resolution": "640x480"}, "only sound"),
        ({"output_format": "wav", "audio_codec": "aac"}, "omit audio_codec"),
        ({"codec": "copy", "fps": 10}, "requires encoding"),
        ({"bitrate": "1M", "quality": 20}, "not both"),
        ({"quality": 60}, "at most 51"),
        ({"resolution": "641x480"}, "even"),
        ({"resolution": "9000x480"}, "8192"),
        ({"start": 5, "end": 5}, "after start"),
        ({"duration": 1, "end": 5}, "not both"),
        ({"output_format": "exe"}, "mp4"),
        ({"fps": float("nan")}, "finite"),
        ({"filter": "movie=/etc/passwd"}, "Extra"),
    ],
)  # fmt: skip
def test_an_invalid_request_is_refused_with_a_remedy(fields, word):
    with pytest.raises(ValidationError) as caught:
        TranscodeRequest(input_url=URL, **fields)
    assert word in str(caught.value)


def refused(transcode, file, **fields):
    with pytest.raises(Fail) as caught:
        transcode(file, **fields)
    return caught.value


def test_a_text_file_is_refused(transcode, tmp_path):
    file = tmp_path / "notes.mp4"
    file.write_text("these are only words\n" * 100)
    error = refused(transcode, file)
    assert error.code == "INPUT_INVALID"
    assert "media file" in str(error)
    assert str(tmp_path) not in str(error)


@pytest.mark.parametrize("sandbox", ["bubblewrap", "landlock", "off"])
def test_a_playlist_that_names_a_local_file_is_refused(tools, device, make_context, tmp_path, clip, sandbox):
    """An HLS playlist would make ffmpeg read any file that it names, so it is not an allowed input format."""
    file = tmp_path / "list.m3u8"
    file.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\n{clip}\n#EXT-X-ENDLIST\n")
    runner = FFmpegRunner(dataclasses.replace(tools, sandbox=sandbox), device)
    with pytest.raises(Fail) as caught:
        runner.run(TranscodeRequest(input_url=URL), make_context({"input_url": file}))
    assert caught.value.code == "INPUT_INVALID"
    assert "media file" in str(caught.value)


@pytest.mark.parametrize("fields", [{}, {"output_format": "mp3"}])
def test_an_empty_file_is_refused(transcode, tmp_path, fields):
    file = tmp_path / "empty"
    file.touch()
    assert refused(transcode, file, **fields).code == "INPUT_INVALID"


def test_words_in_a_file_do_not_make_the_disk_appear_full(transcode, make_media):
    """Ffmpeg quotes the file's type in a warning, before it refuses the request's impossible bitrate."""
    file = make_media("a.mkv", "-f", "lavfi", "-i", "sine=duration=0.5", "-c:a", "flac")
    header = file.read_bytes().replace(b"\xdf\xa3\xa3", b"\xdf\xa3\xb2", 1)
    file.write_bytes(header.replace(b"\x88matroska", b"\x97No space left on device", 1))
    with pytest.raises(Fail) as caught:
        transcode(file, output_format="ogg", audio_bitrate="9999M")
    assert caught.value.code == "INPUT_INVALID"


def test_sound_cannot_become_a_video(transcode, make_media):
    sound = make_media("tone.wav", "-f", "lavfi", "-i", "sine=duration=1")
    assert "no video stream" in str(refused(transcode, sound))


def test_a_silent_video_cannot_become_sound(transcode, make_media):
    silent = make_media("silent.mp4", "-f", "lavfi", "-i", "testsrc2=size=64x64:duration=0.2")
    assert "no audio stream" in str(refused(transcode, silent, output_format="mp3"))


def test_starting_after_the_end_is_refused(transcode, clip):
    assert "not before the end" in str(refused(transcode, clip, start=10))


@pytest.mark.ship
def test_excessive_sizes_are_refused_before_decoding(transcode, make_media):
    huge = make_media(
        "huge.mkv", "-f", "lavfi", "-i", "color=size=20000x64:rate=1:duration=1", "-c:v", "ffv1"
    )
    assert "too large" in str(refused(transcode, huge))


def test_an_output_over_the_limit_is_refused(tools, device, make_context, clip):
    small = dataclasses.replace(tools, max_output=20_000)
    with pytest.raises(Fail) as caught:
        FFmpegRunner(small, device).run(
            TranscodeRequest(input_url=URL, output_format="wav"), make_context({"input_url": clip})
        )
    assert caught.value.code == "OUTPUT_TOO_LARGE"


@pytest.mark.ship
def test_a_run_over_its_deadline_ends(transcode, make_media):
    long = make_media(
        "minutes.mkv",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=640x360:rate=60:duration=60",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
    )
    began = time.monotonic()
    error = refused(transcode, long, codec="av1", timeout=2)
    assert error.code == "TIMEOUT"
    assert time.monotonic() - began < 120


def test_cancelling_a_run_ends_ffmpeg_immediately(tools, device, make_context, make_media):
    long = make_media(
        "minutes.mkv",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=640x360:rate=60:duration=60",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
    )
    context = make_context({"input_url": long})
    running = threading.Event()
    context.on_progress = running.set
    cancelled_at = []

    def cancel_once_it_runs():
        assert running.wait(60)
        cancelled_at.append(time.monotonic())
        context.cancel()

    thread = threading.Thread(target=cancel_once_it_runs)
    thread.start()
    with pytest.raises(Cancelled):
        FFmpegRunner(tools, device).run(TranscodeRequest(input_url=URL, codec="av1"), context)
    assert time.monotonic() - cancelled_at[0] < 60  # the transcoding would take minutes
    thread.join(60)


def test_missing_hardware_is_a_machine_fault(transcode, clip):
    with pytest.raises(Retry) as caught:
        transcode(clip, hardware="required")
    assert caught.value.code == "HARDWARE_UNAVAILABLE"


def test_a_gpu_without_a_working_encoder_falls_back_to_software(tools, make_context, clip):
    """Builds of ffmpeg list NVENC even on machines without a GPU, so only a probe shows whether it works."""
    gpu = Device("cuda", "a card without NVENC", "GPU-00000000-0000-0000-0000-000000000000", 2)
    context = make_context({"input_url": clip})
    result = FFmpegRunner(tools, gpu).run(TranscodeRequest(input_url=URL, duration=0.2), context)
    assert result.results["codec"] == "h264"


@pytest.mark.ship
def test_an_encoder_that_fails_on_the_card_is_replaced_within_the_run(tools, make_context, clip, monkeypatch):
    """As when the card's sessions are taken. Here ffmpeg fails because there is no card."""
    monkeypatch.setattr(encoders, "hardware_works", lambda *_: True)
    gpu = Device("cuda", "a card without a free session", "GPU-00000000-0000-0000-0000-000000000000", 2)
    runner = FFmpegRunner(tools, gpu)
    request = TranscodeRequest(input_url=URL, duration=0.2)
    context = make_context({"input_url": clip})
    result = runner.run(request, context)
    assert result.results["codec"] == "h264"
    assert any("The hardware encoder failed" in line for _, line in context.lines)
    assert describe(result.results["file"].path)[0].startswith("h264,video,320,180")
    with pytest.raises(Retry) as caught:
        runner.run(request.model_copy(update={"hardware": "required"}), make_context({"input_url": clip}))
    assert caught.value.code == "HARDWARE_FAILED"


def test_the_probe_lists_only_working_encoders(tools):
    probe = FFmpegRunner.probe(tools)
    assert probe.available, probe.reasons
    assert probe.version.split(".")[0].isdigit()
    assert "libx264" in probe.features["encoders"]["h264"]
    assert "libvpx-vp9" in probe.features["encoders"]["vp9"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ffmpeg": "/nonexistent/ffmpeg"}, "set runners.ffmpeg"),
        ({"ffprobe": "/nonexistent/ffprobe"}, "set runners.ffprobe"),
        ({"sandbox": "bubblewrap", "bubblewrap": "/nonexistent/bwrap"}, "install bubblewrap"),
        ({"sandbox": "bubblewrap", "bubblewrap": "/bin/false"}, "does not work here"),
        ({"ffmpeg": "/bin/true"}, "not a working ffmpeg"),
    ],
)
def test_the_probe_reports_a_remedy(tools, change, words):
    probe = FFmpegRunner.probe(dataclasses.replace(tools, **change))
    assert not probe.available
    assert words in probe.reasons[0]


@pytest.mark.ship
@pytest.mark.parametrize("sandbox", ["landlock", "off"])
def test_ffmpeg_runs_in_landlock_and_without_a_sandbox_if_the_owner_disables_it(
    tools, device, make_context, clip, sandbox
):
    context = make_context({"input_url": clip})
    chosen = dataclasses.replace(tools, sandbox=sandbox)
    runner = FFmpegRunner(chosen, device)
    assert FFmpegRunner.probe(chosen).available
    assert runner.run(TranscodeRequest(input_url=URL, duration=0.2), context).results["codec"] == "h264"


def test_through_the_child_process(start_child, tools, device, clip, tmp_path):
    """Configure, run, and read the file in the results, as the miner does."""
    output, work = tmp_path / "output", tmp_path / "work"
    output.mkdir()
    work.mkdir()
    child = start_child("video_transcoding")
    assert child.configure(tools, device).runner.name == "ffmpeg"
    parameters = TranscodeRequest(input_url=URL, resolution="64x64").model_dump()
    child.send(
        Run(
            run_id="r1",
            parameters=parameters,
            files={"input_url": clip},
            output=output,
            work=work,
            timeout_seconds=30,
        )
    )
    done = child.until("done", "error")
    assert done.type == "done", done
    assert (output / done.results["file"]["$file"]["path"]).is_file()
    assert done.results["units"] == float(done.units) == pytest.approx(0.008192, abs=0.0002)
    assert done.results["processing_time"] == done.processing_time > 0


def test_pictures_that_need_too_much_memory_are_refused_before_any_work(transcode, make_media):
    """Another machine may have more memory; this one is not at fault and has done no work."""
    long = make_media(
        "long.mkv", "-f", "lavfi", "-i", "testsrc2=size=64x64:rate=5:duration=8", "-c:v", "ffv1"
    )
    with pytest.raises(Retry) as refused:
        transcode(long, output_format="mp4", codec="h264", resolution="8192x8192", fit="stretch")
    assert refused.value.code == "NO_MEMORY"
    assert "67.1 megapixels" in str(refused.value)
