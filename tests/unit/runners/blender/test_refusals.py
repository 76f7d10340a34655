"""Requests, scenes and machines that cannot be rendered, and renderings that are ended."""

from __future__ import annotations

import dataclasses
import gzip
import threading
import time

import psutil
import pytest

from runners.api import Cancelled, Fail, Retry
from runners.blender import BlenderRunner
from runners.blender.process import explain_refusal, save_default_scene
from runners.blender.request import RenderRequest
from runners.errors import Fault
from support.inputs.blender_scenes import SMALL, URL

pytestmark = pytest.mark.system


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"scene": "Elsewhere"}, "it has 'Flat', 'Huge', 'Layered', 'Scene', 'Unfilmed'"),
        ({"scene": "Huge", "resolution_x": None, "resolution_y": None}, "set resolution_x"),
        ({"scene": "Unfilmed", "samples": None}, "no camera"),
        ({"scene": "Flat", "engine": None}, "set engine to"),
    ],
)
def test_a_scene_that_cannot_be_rendered_is_refused_with_a_remedy(refused, fields, words):
    error = refused(**fields)
    assert isinstance(error, Fail), error
    assert words in str(error)


@pytest.mark.parametrize("kind", ["text", "gzip", "cut"])
def test_a_file_that_is_not_a_scene_is_refused(refused, scenes, kind):
    scene = (scenes / "scene.blend").read_bytes()
    content = {
        "text": b"these are only words\n",
        "gzip": gzip.compress(b"words"),
        "cut": scene[: len(scene) // 2],
    }
    (scenes / "bad.blend").write_bytes(content[kind])
    error = refused("bad.blend")
    assert (type(error), error.code) == (Fail, "INPUT_INVALID")
    assert ("could not open" if kind == "cut" else "not a .blend file") in str(error)
    assert "/input" not in str(error)


def test_a_file_of_a_newer_blender_is_retried_on_another_machine(refused, scenes):
    (scenes / "newer.blend").write_bytes(b"BLENDER17-02v0999" + (scenes / "scene.blend").read_bytes()[17:])
    error = refused("newer.blend")
    assert (type(error), error.code) == (Retry, "ENGINE_OUTDATED")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"engine": "eevee"}, "ENGINE_UNAVAILABLE"),
        ({"device": "gpu"}, "GPU_UNAVAILABLE"),
        ({"denoise": True}, "DENOISER_UNAVAILABLE"),
    ],
)
def test_a_request_that_this_machine_cannot_serve_is_retried_on_another(refused, tools, fields, code):
    if code == "DENOISER_UNAVAILABLE" and BlenderRunner.probe(tools).features["denoiser"]:
        pytest.skip("this Blender has a denoiser")
    error = refused(**fields)
    assert (type(error), error.code) == (Retry, code)
    assert error.fault is Fault.NEITHER, "the machine is not at fault"


@pytest.mark.ship
def test_blenders_own_first_scene_needs_another_engine_without_a_gpu(tools, device, make_context, tmp_path):
    """It is set up for EEVEE. The machine says in its features that it has only Cycles, so that jobs that name EEVEE go elsewhere."""
    if BlenderRunner.probe(tools).features["engines"] != ["cycles"]:
        pytest.skip("EEVEE works here")
    scene = tmp_path / "first.blend"
    save_default_scene(tools, scene)
    context = make_context({"blend_file_url": scene})
    runner = BlenderRunner(tools, device)
    with pytest.raises(Retry, match="set engine: cycles") as caught:
        runner.run(RenderRequest(blend_file_url=URL), context)
    assert (caught.value.code, caught.value.fault) == ("ENGINE_UNAVAILABLE", Fault.NEITHER)


@pytest.mark.parametrize(
    "words", ["System is out of GPU memory", "Out of memory in cuMemAlloc(&pointer, size)"]
)
@pytest.mark.parametrize("gpu", [True, False])
def test_a_scene_that_does_not_fit_into_memory_is_not_the_machines_fault(words, gpu):
    """The owner is advised to raise the limit of main memory only where that ran out."""
    error = explain_refusal(f"frame 1: Error: {words}", "engine", None, gpu=gpu)
    assert (type(error), error.code, error.fault) == (Retry, "OUT_OF_MEMORY", Fault.CAPACITY)
    assert ("runners.max_memory" in str(error)) is not gpu


SLOW = {"engine": "cycles", "resolution_x": 512, "resolution_y": 512, "samples": 60_000}


def test_cancelling_a_run_ends_blender_immediately(tools, device, make_context, scenes):
    context = make_context({"blend_file_url": scenes / "scene.blend"})
    started = threading.Event()
    context.on_progress = lambda: context.reported[-1][0] > 0 and started.set()
    before = set(psutil.Process().children(recursive=True))  # children of other tests in this process
    seen = []

    def cancel_once_it_renders():
        assert started.wait(50)
        seen.extend(set(psutil.Process().children(recursive=True)) - before)
        seen.append(time.monotonic())
        context.cancel()

    thread = threading.Thread(target=cancel_once_it_renders)
    thread.start()
    with pytest.raises(Cancelled):
        BlenderRunner(tools, device).run(RenderRequest(blend_file_url=URL, frame=1, **SLOW), context)
    *processes, cancelled_at = seen
    assert time.monotonic() - cancelled_at < 60  # the rendering would take many minutes
    thread.join(60)
    assert len(processes) >= 2
    assert psutil.wait_procs(processes, timeout=300)[1] == []


@pytest.mark.ship
def test_a_run_over_its_deadline_ends(refused):
    began = time.monotonic()
    error = refused(timeout=4, frame=1, small=SLOW)
    assert (type(error), error.code) == (Fail, "TIMEOUT")
    assert time.monotonic() - began < 120


@pytest.mark.ship
def test_frames_larger_than_the_output_limit_are_refused(tools, device, make_context, scenes):
    small = dataclasses.replace(tools, max_output=4_000)
    context = make_context({"blend_file_url": scenes / "scene.blend"})
    with pytest.raises(Fail) as caught:
        BlenderRunner(small, device).run(RenderRequest(blend_file_url=URL, frames="1-4", **SMALL), context)
    assert caught.value.code == "OUTPUT_TOO_LARGE"
