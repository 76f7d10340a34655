"""Runs inside Blender, inside the sandbox: says what this Blender can do, or renders the frames of a job.

A program of its own: nothing of ours is importable in there. Its instructions are the JSON file that its last argument names. What it has to
say it prints, one JSON object a line behind a mark that the scene's author cannot know, so that no name in the file can
pass for it. Everything in the loaded file is a stranger's: nothing of it is ever executed here or put into code.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

MAX_NAMES = 20
"""Names from the file that one message lists."""

ENDINGS = {"png": b"IEND\xaeB`\x82", "jpeg": b"\xff\xd9", "exr": b""}
"""How a complete file of each format ends, as far as the format says."""

SWITCHED_OFF = (
    "use_file_extension",
    "use_border",
    "use_multiview",
    "use_stamp_date",
    "use_stamp_render_time",
    "use_stamp_memory",
    "use_stamp_hostname",
)
"""Settings of the file that would give another file than the one expected, differ each time, or name this machine."""

Tell = Callable[..., None]


class Refused(Exception):
    """The job cannot be done. `fault` is the input's or the machine's; `code` a wire code or None for the usual."""

    def __init__(self, message: str, fault: str = "input", code: str | None = None) -> None:
        super().__init__(message)
        self.fault = fault
        self.code = code


def describe(bpy: Any, _job: dict[str, Any], tell: Tell) -> None:
    """Tell the version, whether there is a denoiser, and the kinds of Cycles devices that can really be used."""
    import _cycles  # type: ignore[import-not-found]  # noqa: PLC0415 - exists only inside Blender
    import cycles  # type: ignore[import-not-found]  # noqa: PLC0415 - exists only inside Blender

    library = Path(cycles.__file__).parent / "lib"
    kernels = {"CUDA": "kernel_sm_*", "OPTIX": "kernel_optix*"}
    listed = [
        kind
        for kind in ("OPTIX", "CUDA")
        if any(device[1] == kind for device in _cycles.available_devices(kind))
    ]
    tell(
        version=list(bpy.app.version[:3]),
        denoiser=bool(_cycles.with_openimagedenoise),
        backends=[kind for kind in listed if any(library.glob(kernels[kind]))],
        kernels=any(any(library.glob(pattern)) for pattern in kernels.values()),
    )


def save(bpy: Any, job: dict[str, Any], tell: Tell) -> None:
    """Save what Blender starts with, the default scene, as a file."""
    bpy.ops.wm.save_as_mainfile(filepath=job["target"])
    tell(saved=0)


def try_eevee(bpy: Any, job: dict[str, Any], tell: Tell) -> None:
    """Draw an empty picture with EEVEE, and tell on what OpenGL runs."""
    import gpu  # type: ignore[import-not-found]  # noqa: PLC0415 - exists only inside Blender

    scene = bpy.context.scene
    for thing in [thing for thing in scene.objects if thing.type != "CAMERA"]:
        bpy.data.objects.remove(thing)
    scene.world = None
    scene.render.engine = _eevee(bpy)
    scene.eevee.taa_render_samples = 1
    scene.render.resolution_x = scene.render.resolution_y = 16
    scene.render.filepath = job["target"]
    bpy.ops.render.render(write_still=True)
    tell(renderer=gpu.platform.renderer_get())


def render(bpy: Any, job: dict[str, Any], tell: Tell) -> None:
    """Render the frames one after the other; a frame that an earlier run made and that is intact is taken over."""
    scene = _scene(bpy, job)
    warnings = _warnings(bpy, defused=_defuse(bpy))
    _choose_engine(bpy, scene, job)
    _choose_picture(scene, job)
    _choose_quality(scene, job, warnings)
    _choose_camera(scene, job)
    width, height, samples = _measure(scene, job)
    frames = job["frames"] if job["frames"] is not None else [scene.frame_current]
    if min(frames) < 0:
        raise Refused("The file's current frame is negative; say which frame to render.")
    tell(
        scene={
            "frames": frames,
            "width": width,
            "height": height,
            "samples": samples,
            "layers": sum(layer.use for layer in scene.view_layers),
            "fps": scene.render.fps / scene.render.fps_base,
            "warnings": warnings,
        }
    )
    missing = []
    for frame in frames:
        made = job["made"].get(str(frame))
        if made is not None and _intact(bpy, made, job["format"], (width, height)):
            tell(reused=frame)
        else:
            missing.append(frame)
    for frame in missing:
        _render_frame(bpy, scene, frame, job)
        tell(saved=frame)


def _render_frame(bpy: Any, scene: Any, frame: int, job: dict[str, Any]) -> None:
    scene.frame_set(frame)
    scene.render.filepath = f"{job['output']}/{frame}"
    try:
        ended = bpy.ops.render.render(write_still=True, scene=scene.name)
    except RuntimeError as error:
        raise Refused(f"frame {frame}: {error}", "engine") from None
    if "FINISHED" not in ended:
        raise Refused(f"frame {frame}: the renderer gave up", "engine")


def _scene(bpy: Any, job: dict[str, Any]) -> Any:
    if job["scene"] is None:
        return bpy.context.scene
    scene = bpy.data.scenes.get(job["scene"])
    if scene is None:
        raise Refused(f"The file has no scene {job['scene']!r}; it has {_names(bpy.data.scenes)}.")
    return scene


def _defuse(bpy: Any) -> bool:
    """Take out of all scenes what would run Python in spite of --disable-autoexec, and what writes files of its own.

    Returns whether there was any such Python.
    """
    defused = False
    trees = list(bpy.data.node_groups)
    for scene in bpy.data.scenes:
        trees.append(getattr(scene, "node_tree", None))
        for layer in scene.view_layers:
            # Freestyle runs the style modules of its scripting mode whatever Blender was told about scripts.
            modules = layer.freestyle_settings.modules
            while len(modules):
                modules.remove(modules[0])
                defused = True
    for tree in trees:
        for node in list(tree.nodes) if tree is not None else ():
            if node.bl_idname == "CompositorNodeOutputFile":
                tree.nodes.remove(node)
    return defused


def _warnings(bpy: Any, *, defused: bool) -> list[str]:
    """What the client should know because the picture may differ from the one at home."""
    found = []
    missing = [
        os.path.basename(path)[:100]  # noqa: PTH119 - paths of any system, as Blender wrote them
        for path in bpy.utils.blend_paths(absolute=True, packed=False, local=False)
        if not path.startswith("<") and not os.path.exists(path)  # noqa: PTH110 - as above
    ]
    if missing:
        listed = ", ".join(sorted(set(missing))[:MAX_NAMES])
        found.append(
            f"Files that the scene uses are not inside it (File > External Data > Pack Resources): {listed}"
        )
    if bpy.app.autoexec_fail or defused:
        found.append(
            "Python in the file (driver expressions, registered texts, styles of Freestyle) is not run."
        )
    if tuple(bpy.data.version)[:2] > tuple(bpy.app.version)[:2]:
        saved, ours = (
            ".".join(map(str, tuple(version)[:2])) for version in (bpy.data.version, bpy.app.version)
        )
        found.append(f"The file was saved by Blender {saved} and rendered by the older {ours}.")
    return found


def _choose_engine(bpy: Any, scene: Any, job: dict[str, Any]) -> None:
    render = scene.render
    known = {"cycles": "CYCLES", "eevee": _eevee(bpy)}
    if job["engine"] is not None:
        engine = job["engine"]
    else:
        engine = next((name for name, identifier in known.items() if identifier == render.engine), None)
    if engine is None:
        raise Refused("The file's own engine is not offered; ask for the engine 'cycles' or 'eevee'.")
    if engine not in job["engines"]:
        raise Refused("EEVEE does not work on this machine: it needs a GPU.", "machine", "ENGINE_UNAVAILABLE")
    render.engine = known[engine]
    if engine == "cycles" and job["gpu_only"] and not job["gpu"]:
        raise Refused("Cycles cannot use a GPU on this machine.", "machine", "GPU_UNAVAILABLE")
    if engine == "cycles":
        scene.cycles.device = "GPU" if job["gpu"] else "CPU"


def _eevee(bpy: Any) -> str:
    """EEVEE's identifier in this version."""
    return "BLENDER_EEVEE_NEXT" if (4, 2) <= bpy.app.version[:2] < (5, 0) else "BLENDER_EEVEE"


def _choose_picture(scene: Any, job: dict[str, Any]) -> None:
    """Size, transparency and file format."""
    render, settings = scene.render, scene.render.image_settings
    if job["width"] is not None or job["height"] is not None:
        width, height = _size(render)
        render.resolution_x, render.resolution_y = job["width"] or width, job["height"] or height
        render.resolution_percentage = 100
    if job["transparent"] is not None:
        render.film_transparent = job["transparent"]
    for name in SWITCHED_OFF:
        setattr(render, name, False)
    if hasattr(settings, "media_type"):  # Blender 5
        settings.media_type = "IMAGE"
    settings.file_format = {"png": "PNG", "jpeg": "JPEG", "exr": "OPEN_EXR"}[job["format"]]
    settings.color_mode = "RGBA" if render.film_transparent and job["format"] != "jpeg" else "RGB"
    if job["format"] != "jpeg":
        settings.color_depth = str(job["depth"])
    if job["format"] == "exr":
        settings.exr_codec = "ZIP"
    else:
        settings.quality, settings.compression = job["quality"], 15


def _choose_quality(scene: Any, job: dict[str, Any], warnings: list[str]) -> None:
    """Samples, seed and denoising."""
    if scene.render.engine != "CYCLES":
        if job["samples"] is not None:
            scene.eevee.taa_render_samples = job["samples"]
        return
    cycles = scene.cycles
    if job["samples"] is not None:
        cycles.samples = job["samples"]
        cycles.use_layer_samples = "IGNORE"
    if job["seed"] is not None:
        cycles.seed = job["seed"]
    wanted = cycles.use_denoising if job["denoise"] is None else job["denoise"]
    if wanted and not job["denoiser"]:
        if job["denoise"]:
            raise Refused(
                "This machine's Blender was built without a denoiser.", "machine", "DENOISER_UNAVAILABLE"
            )
        warnings.append("The scene asks for denoising, which the Blender that rendered it lacks.")
    cycles.use_denoising = wanted and job["denoiser"]
    if cycles.use_denoising:
        cycles.denoiser = "OPENIMAGEDENOISE"


def _choose_camera(scene: Any, job: dict[str, Any]) -> None:
    if job["camera"] is None:
        return
    cameras = {thing.name: thing for thing in scene.objects if thing.type == "CAMERA"}
    if job["camera"] not in cameras:
        raise Refused(f"The scene has no camera {job['camera']!r}; it has {_names(cameras.values())}.")
    scene.camera = cameras[job["camera"]]
    for marker in scene.timeline_markers:
        marker.camera = None  # else it would take over at its frame


def _measure(scene: Any, job: dict[str, Any]) -> tuple[int, int, int]:
    """Width, height and samples of each frame. Refuses what the file itself asks too much of."""
    width, height = _size(scene.render)
    cycles = scene.render.engine == "CYCLES"
    samples = scene.cycles.samples if cycles else max(1, scene.eevee.taa_render_samples)
    if width * height > job["max_pixels"]:
        raise Refused(f"The picture is too large ({width}x{height}); set resolution_x and resolution_y.")
    if samples > job["max_samples"]:
        raise Refused(f"The scene asks for too many samples ({samples}); set samples.")
    return width, height, samples


def _size(render: Any) -> tuple[int, int]:
    percent = render.resolution_percentage
    return render.resolution_x * percent // 100, render.resolution_y * percent // 100


def _intact(bpy: Any, path: str, kind: str, size: tuple[int, int]) -> bool:
    """Whether a picture is complete and has this size."""
    if not Path(path).read_bytes().endswith(ENDINGS[kind]):
        return False
    try:
        image = bpy.data.images.load(path)
    except RuntimeError:
        return False
    complete = tuple(image.size) == size  # asking decodes it; what is damaged has no size
    bpy.data.images.remove(image)
    return complete


def _names(things: Any) -> str:
    names = sorted(thing.name for thing in things)
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return (", ".join(repr(name) for name in names[:MAX_NAMES]) or "none") + more


def main() -> None:
    """Entry point; an unexpected exception ends Blender with the status of --python-exit-code."""
    import bpy  # type: ignore[import-not-found]  # noqa: PLC0415 - exists only inside Blender

    job = json.loads(Path(sys.argv[-1]).read_text(encoding="utf-8"))

    def tell(**message: Any) -> None:
        sys.stdout.write(f"\n{job['mark']}{json.dumps(message)}\n")
        sys.stdout.flush()

    try:
        {"describe": describe, "save": save, "try_eevee": try_eevee, "render": render}[job["task"]](
            bpy, job, tell
        )
    except Refused as refusal:
        tell(refused={"message": str(refusal), "fault": refusal.fault, "code": refusal.code})


if __name__ == "__main__":
    main()
