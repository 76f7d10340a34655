"""Creates the demo's scene inside Blender: blender -b --factory-startup -P demo_scene.py -- FILE."""

from __future__ import annotations

import math
import sys
from typing import Any

import bpy  # type: ignore[import-not-found] # exists only inside Blender

Colour = tuple[float, float, float]


def main(path: str) -> None:
    """Save the scene to the file `path`."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    add = bpy.ops.mesh
    add.primitive_plane_add(size=40)
    paint((0.16, 0.2, 0.28), roughness=0.6)
    add.primitive_uv_sphere_add(radius=1, location=(0, 0, 1), segments=48, ring_count=24)
    paint((0.8, 0.06, 0.05), roughness=0.15)
    bpy.ops.object.shade_smooth()
    add.primitive_cube_add(size=1.5, location=(-2.4, 0.8, 0.75), rotation=(0, 0, math.radians(30)))
    paint((0.95, 0.6, 0.1), roughness=0.25, metallic=1)
    add.primitive_cone_add(radius1=0.9, depth=2, location=(2.3, 0.9, 1), vertices=48)
    paint((0.05, 0.5, 0.25), roughness=0.4)
    add.primitive_torus_add(location=(1.1, -1.5, 0.25), major_radius=0.6, minor_radius=0.25)
    paint((0.1, 0.25, 0.85), roughness=0.2)
    bpy.ops.object.shade_smooth()
    light_and_camera()
    bpy.ops.wm.save_as_mainfile(filepath=path)


def paint(colour: Colour, roughness: float, metallic: float = 0) -> None:
    """Assign a material to the most recently added object."""
    material: Any = bpy.data.materials.new("paint")
    material.use_nodes = True
    inputs = material.node_tree.nodes["Principled BSDF"].inputs
    inputs["Base Color"].default_value = (*colour, 1)
    inputs["Roughness"].default_value = roughness
    inputs["Metallic"].default_value = metallic
    bpy.context.object.data.materials.append(material)


def light_and_camera() -> None:
    """Add a large soft lamp, a pale sky, and a camera that points at the centre."""
    bpy.ops.object.light_add(
        type="AREA", location=(-4, -4, 6), rotation=(math.radians(40), 0, math.radians(-45))
    )
    lamp = bpy.context.object.data
    lamp.energy, lamp.size = 700, 4
    world = bpy.data.worlds.new("sky")
    world.use_nodes = True
    sky = world.node_tree.nodes["Background"].inputs
    sky["Color"].default_value = (0.35, 0.5, 0.8, 1)
    sky["Strength"].default_value = 0.6
    bpy.context.scene.world = world
    bpy.ops.object.camera_add(location=(0, -9, 3.6), rotation=(math.radians(73), 0, 0))
    bpy.context.scene.camera = bpy.context.object
    bpy.context.scene.cycles.use_denoising = False  # not every build has a denoiser


main(sys.argv[sys.argv.index("--") + 1])
