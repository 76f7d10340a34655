"""Inputs with which ffmpeg works for long without a sign of progress."""

from __future__ import annotations

import dataclasses
import importlib
from decimal import Decimal

import pytest

from runners.api import Cancelled
from runners.ffmpeg import FFmpegRunner, comparer, process, runner
from runners.ffmpeg.process import job_limits, run_ffmpeg
from runners.ffmpeg.request import TranscodeRequest
from runners.sandbox import Sandbox
from support.audited import audited

SECONDS = 30

watch = importlib.import_module("runners.sandbox.watch")  # the package has a function of that name


@pytest.fixture
def one_key_frame(make_media):
    """A video that must be decoded from its beginning, wherever the requested part begins."""
    picture = f"testsrc2=size=640x360:rate=25:duration={SECONDS}"
    coding = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "100000", "-keyint_min", "100000")
    return make_media("one-key.mp4", "-f", "lavfi", "-i", picture, *coding)


@pytest.fixture(autouse=True)
def _ticks_at_once(monkeypatch):
    for name in ("TICK", "POLL", "QUICK_POLL"):
        monkeypatch.setattr(watch, name, 0.02)


@pytest.fixture
def silences(monkeypatch):
    """What each run of ffmpeg reported to the job before its first line that says how far it is."""
    found = []

    def spy(sandbox, arguments, context, *, on_line, **options):
        before, reported = len(context.reported), []

        def listen(line):
            name, _, value = line.strip().partition("=")
            if name in ("out_time_us", "progress") and (value.isdigit() or value == "end") and not reported:
                reported.append(context.reported[before:])
            on_line(line)

        run_ffmpeg(sandbox, arguments, context, on_line=listen, **options)
        found.append(reported[0])

    for module in (runner, comparer):
        monkeypatch.setattr(module, "run_ffmpeg", spy)
    return found


@pytest.mark.ship
@pytest.mark.parametrize("fields", [{}, {"bitrate": "100k"}], ids=["one pass", "two passes"])
def test_attack_decoding_up_to_a_late_start_does_not_look_hung(transcode, one_key_frame, silences, fields):
    result, _ = transcode(one_key_frame, resolution="64x64", start=SECONDS - 1, duration=1, **fields)
    assert result.results["duration"] == pytest.approx(1, abs=0.1)
    assert len(silences) == 1 + len(fields)
    assert all(silences)
    assert set(silences[0]) == {(0.0, Decimal(0))}
    assert all(len(set(silence)) == 1 for silence in silences)  # the percentage and the units stay


@pytest.mark.ship
def test_attack_counting_pictures_for_an_audit_does_not_look_hung(
    tools, device, transcode, one_key_frame, silences, make_context
):
    fields = {"resolution": "64x64", "start": SECONDS - 1, "duration": 1}
    result, _ = transcode(one_key_frame, **fields)
    request = TranscodeRequest(input_url="https://example.com/video.mp4", **fields)
    context = make_context({"input_url": one_key_frame})
    transcoding = FFmpegRunner(tools, device)
    media = runner.inspect(tools, one_key_frame, context)
    audit = comparer.TranscodeAudit(
        tools,
        device,
        request,
        audited(result),
        context,
        plan_of=lambda part: transcoding._plan(part, media, one_key_frame, context),
        run=transcoding.run,
    )
    assert audit._counted(audit.plan_of(request)) == 25
    assert len(silences[-1]) > 2


def test_a_program_that_hangs_reports_nothing(tools, device, tmp_path, make_context, monkeypatch):
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho hangs\nkill -STOP $$\n")
    program.chmod(0o755)
    context = make_context()
    sandbox = Sandbox(dataclasses.replace(tools, ffmpeg=str(program)), job_limits(tools, device, 30))
    ticks, hung_since = [], []
    activity = process.sandbox_activity

    def counted(run):
        on_tick = activity(run)

        def tick(cpu_seconds):
            on_tick(cpu_seconds)
            if hung_since:
                ticks.append(len(context.reported))
            if len(ticks) == 20:
                context.cancel()

        return tick

    monkeypatch.setattr(process, "sandbox_activity", counted)
    with pytest.raises(Cancelled):
        run_ffmpeg(sandbox, [], context, on_line=hung_since.append)
    assert hung_since[0] == "hangs"
    assert ticks[5:] == [ticks[5]] * 15
