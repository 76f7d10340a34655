"""What a miner uses of the runner: probe, benchmark, devices, child process."""

from __future__ import annotations

import dataclasses
import resource
import time
from decimal import Decimal

import pytest

from runners.api import Device, OutputFile, Retry
from runners.blender import BlenderRunner, runner
from runners.blender.request import RenderRequest
from runners.blender.video import make_video
from runners.host.protocol import Run
from runners.sandbox import gpus
from support.inputs.blender_scenes import SMALL, URL, describe


def test_the_probe_reports_what_this_blender_can_do(tools, tmp_path):
    tools = dataclasses.replace(tools, cache_dir=tmp_path)  # not probed before
    began = time.monotonic()
    probe = BlenderRunner.probe(tools)
    assert probe.available, probe.reasons
    assert time.monotonic() - began < 120
    assert probe.version.count(".") == 2
    assert probe.features["devices"][-1] == "CPU"
    assert "cycles" in probe.features["engines"]
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert BlenderRunner.probe(tools) == probe
    assert resource.getrusage(resource.RUSAGE_CHILDREN) == ended, "Blender is started once"


@pytest.mark.ship
def test_the_probe_looks_for_cards_in_wsl_too(tools, tmp_path, monkeypatch):
    """There the driver has one device file, of another name. Without a card, Blender says what is missing for it."""
    monkeypatch.setattr(gpus, "DEVICES", tmp_path / "devices")
    monkeypatch.setattr(runner, "eevee_works", lambda *_: False)  # takes a minute without a card
    (tmp_path / "devices").mkdir()
    without = BlenderRunner.probe(dataclasses.replace(tools, cache_dir=tmp_path))
    assert not any("Cycles renders on the CPU" in reason for reason in without.reasons)
    (tmp_path / "devices" / "dxg").touch()
    probe = BlenderRunner.probe(dataclasses.replace(tools, cache_dir=tmp_path))
    assert any("Cycles renders on the CPU" in reason for reason in probe.reasons)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"blender": "/nonexistent/blender"}, "set runners.blender"),
        ({"blender": "/bin/true"}, "not a Blender"),
        ({"sandbox": "bubblewrap", "bubblewrap": "/nonexistent/bwrap"}, "install bubblewrap"),
        ({"sandbox": "off"}, "runners.sandbox"),
    ],
)
def test_the_probe_reports_a_remedy(tools, change, words):
    probe = BlenderRunner.probe(dataclasses.replace(tools, **change))
    assert not probe.available
    assert words in probe.reasons[0]


@pytest.mark.ship
def test_no_scene_is_opened_without_the_sandbox(tools, device, make_context, scenes):
    """Even if a job arrives although the probe failed."""
    context = make_context({"blend_file_url": scenes / "scene.blend"})
    with pytest.raises(Retry) as caught:
        BlenderRunner(dataclasses.replace(tools, sandbox="off"), device).run(
            RenderRequest(blend_file_url=URL, **SMALL), context
        )
    assert caught.value.code == "SANDBOX_UNAVAILABLE"


@pytest.mark.ship
def test_a_gpu_that_this_build_cannot_use_falls_back_to_the_processor(tools, make_context, scenes):
    gpu = Device("cuda", "a card", "GPU-00000000-0000-0000-0000-000000000000", 2)
    context = make_context({"blend_file_url": scenes / "scene.blend"})
    result = BlenderRunner(tools, gpu).run(RenderRequest(blend_file_url=URL, frame=1, **SMALL), context)
    assert len(result.results["frames"]) == 1


@pytest.mark.ship
def test_the_benchmark_is_a_request_that_runs(tools, device, make_context, tmp_path):
    benchmark = BlenderRunner.benchmark(tools, tmp_path)
    assert benchmark.metric == "megapixel-sample/s"
    request = RenderRequest.model_validate({**benchmark.parameters, "samples": 1})
    result = BlenderRunner(tools, device).run(request, make_context(benchmark.files))
    assert result.units == Decimal(960 * 540) / 1_000_000


@pytest.mark.ship
def test_through_the_child_process(start_child, tools, device, scenes, tmp_path):
    """What the miner does; a finished frame arrives before the results."""
    output, work = tmp_path / "output", tmp_path / "work"
    output.mkdir()
    work.mkdir()
    child = start_child("blender_rendering")
    assert child.configure(tools, device).runner.name == "blender"
    parameters = RenderRequest(blend_file_url=URL, frame=3, **SMALL).model_dump(mode="json")
    files = {"blend_file_url": scenes / "scene.blend"}
    child.send(
        Run(run_id="r", parameters=parameters, files=files, output=output, work=work, timeout_seconds=60)
    )
    handed = child.until("checkpoint", "error", "done")
    assert handed.type == "checkpoint", handed
    assert (handed.file.path, handed.file.extra) == ("frame_0003.png", {"frame": 3})
    done = child.until("done", "error")
    assert done.type == "done", done
    assert done.results["frames"][0]["$file"]["path"] == "frame_0003.png"
    assert done.results["units"] == float(done.units) == pytest.approx(0.004608)


@pytest.mark.ship
@pytest.mark.gpu
def test_a_gpu_renders_with_both_engines(tools, make_context, scenes):
    """Needs Blender's own build in `runners.blender` and an NVIDIA card."""
    probe = BlenderRunner.probe(tools)
    if not {"OPTIX", "CUDA"} & set(probe.features.get("devices", ())):
        pytest.skip(f"no GPU that this Blender can use: {probe.reasons}")
    runner = BlenderRunner(tools, Device("cuda", "any", threads=2))
    for engine in probe.features["engines"]:
        context = make_context({"blend_file_url": scenes / "scene.blend"})
        fields = {**SMALL, "engine": engine, "device": "gpu"}
        result = runner.run(RenderRequest.model_validate({"blend_file_url": URL, **fields}), context)
        assert describe(result.results["frames"][0].path) == "png,64,36,rgb24"


@pytest.mark.ship
def test_a_video_that_the_card_does_not_encode_is_encoded_by_the_processor(tools, make_context, first_frame):
    """As where all sessions of the card are taken. The frames are not lost with it."""
    context = make_context()
    frames = []
    for number in (1, 2):
        copy = context.output / f"frame_{number:04}.png"
        copy.write_bytes(first_frame.read_bytes())
        frames.append(OutputFile(copy, "image/png", copy.name))
    card = Device("cuda", "a card", "GPU-00000000-0000-0000-0000-000000000000", 1)
    made = make_video(tools, card, "h264_nvenc", frames, 8.0, 60.0, context, Decimal(1))
    assert describe(made.path, "stream=codec_name,nb_frames") == "h264,2"
