"""Broken and unusual scenes for Blender."""

from __future__ import annotations

import functools
import gzip
import subprocess
import tempfile
from pathlib import Path

from campaign.broken.request import Chance
from campaign.broken.values import damaged

_MAKE = """
import bpy, os
folder = {folder!r}
def save(name):
    bpy.ops.wm.save_as_mainfile(filepath=os.path.join(folder, name), compress=False)
def again():
    bpy.ops.wm.read_factory_settings()
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples = 1
    scene.render.resolution_x, scene.render.resolution_y = 64, 48
    return scene
scene = again(); save("good")
scene = again(); bpy.data.objects.remove(scene.camera); save("without camera")
scene = again(); scene.render.resolution_x = scene.render.resolution_y = 65536; scene.render.resolution_percentage = 100; save("huge resolution")
scene = again(); scene.render.resolution_x = 4; scene.render.resolution_percentage = 1; save("tiny resolution")
scene = again(); scene.cycles.samples = 16777216; scene.cycles.use_adaptive_sampling = False; save("endless samples")
scene = again()
cube = bpy.data.objects["Cube"]
for number in range(3):
    modifier = cube.modifiers.new("s", "SUBSURF"); modifier.levels = 0; modifier.render_levels = 6
save("memory bomb")
scene = again()
text = bpy.data.texts.new("start.py"); text.use_module = True
text.write("import os; os._exit(7)"); save("script")
scene = again()
driver = bpy.data.objects["Cube"].driver_add("location", 0).driver
driver.type = "SCRIPTED"; driver.expression = "1/0 or __import__('os')._exit(3)"; save("driver")
scene = again(); scene.frame_start, scene.frame_end = 1048574, 0; save("no frames")
scene = again(); scene.use_nodes = True; scene.node_tree.nodes.clear(); save("empty compositor")
scene = again()
for item in list(bpy.data.objects): bpy.data.objects.remove(item)
save("empty")
scene = again(); scene.render.engine = "BLENDER_WORKBENCH"; save("workbench")
scene = again(); scene.camera.data.clip_start = 1e30; scene.camera.scale = (0, 0, 0); save("camera of no size")
scene = again(); cube = bpy.data.objects["Cube"]; cube.location = (float("nan"),) * 3; save("not a number")
scene = again(); image = bpy.data.images.new("x", 4, 4); image.source = "FILE"; image.filepath = "/etc/passwd"; save("missing picture")
"""


@functools.cache
def scenes() -> dict[str, bytes]:
    """Return scenes by what is unusual about them. "good" is Blender's own cube, small."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            "blender",
            "-b",
            "--factory-startup",
            "--python-exit-code",
            "1",
            "--python-expr",
            _MAKE.format(folder=folder),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        return {
            path.stem: path.read_bytes()
            for path in sorted(Path(folder).iterdir())
            if not path.name.endswith("1")
        }


def scene(chance: Chance) -> tuple[str, bytes]:
    """Draw a scene. Returns what is wrong with it, and the file."""
    good = scenes()["good"]
    match chance.randrange(8):
        case 0 | 1:
            return "damaged scene", damaged(chance, good)
        case 2:
            return "truncated scene", good[: chance.randrange(len(good))]
        case 3:
            other = (
                b"",
                b"BLENDER",
                b"BLENDER-v999" + good[12:],
                b"BLENDER_V405" + good[12:],
                b"\x28\xb5\x2f\xfd" + bytes(40),
                gzip.compress(good)[:-9],
                bytes(9000),
            )
            return "no scene", chance.choice(other)
        case 4:
            return "good scene, strange options", good
        case _:
            kind = chance.choice(sorted(scenes()))
            return f"scene: {kind}", scenes()[kind]
