"""Runs inside Blender, inside the sandbox: reports the abilities of this Blender, or renders the frames of a job.

A separate program: the project's packages cannot be imported there. Blender runs it, or a Python with Blender as the
module `bpy`. Its last argument names the JSON file with its instructions. It
prints its messages, one JSON object per line after a mark that the scene's author cannot know, so that no name in the file can
imitate a message. Everything in the loaded file is untrusted: none of it is executed here or inserted into code.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
import traceback
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

FAULT = 3
"""Exit status after an unexpected exception."""

UNREADABLE = 1
"""Exit status if Blender cannot open the scene."""

REPORTS_STATISTICS = (5, 0)
"""The first version whose handlers of statistics work. Older ones block forever in them, but print the statistics."""

MAX_NAMES = 20
"""Names from the file that a message lists at most."""

ENDINGS = {"png": b"IEND\xaeB`\x82", "jpeg": b"\xff\xd9", "exr": b""}
"""The last bytes of a complete file of each format, if the format defines them."""

TILE = 256
"""Pixels of a side of the region that an audit renders again."""

BLOCK = 16
"""Pixels of a side of a JPEG's blocks with their colors."""

MARGIN = 8
"""Pixels at the border of a region that are not compared: a JPEG's colors and adaptive sampling look at their neighbours."""

SWITCHED_OFF = (
    "use_file_extension",
    "use_border",
    "use_multiview",
    "use_stamp_date",
    "use_stamp_render_time",
    "use_stamp_memory",
    "use_stamp_hostname",
)
"""Settings that would produce an unexpected file, differ on each run, or name this machine."""

Send = Callable[..., None]


class Refused(Exception):
    """The job cannot be rendered. `fault` is "input", "machine" or "engine"; `code` a failure code, None for the default."""

    def __init__(self, message: str, fault: str = "input", code: str | None = None) -> None:
        super().__init__(message)
        self.fault = fault
        self.code = code


def describe(bpy: Any, _job: dict[str, Any], send: Send) -> None:
    """Send the version, whether there is a denoiser, and the kinds of usable Cycles devices."""
    import _cycles  # type: ignore[import-not-found]  # noqa: PLC0415 - exists only inside Blender
    import cycles  # type: ignore[import-not-found]  # noqa: PLC0415 - exists only inside Blender

    library = Path(cycles.__file__).parent / "lib"
    kernels = {"CUDA": "kernel_sm_*", "OPTIX": "kernel_optix*"}
    listed = [
        kind
        for kind in ("OPTIX", "CUDA")
        if any(device[1] == kind for device in _cycles.available_devices(kind))
    ]
    send(
        version=list(bpy.app.version[:3]),
        denoiser=bool(_cycles.with_openimagedenoise),
        backends=[kind for kind in listed if any(library.glob(kernels[kind]))],
        kernels=any(any(library.glob(pattern)) for pattern in kernels.values()),
    )


def save(bpy: Any, job: dict[str, Any], send: Send) -> None:
    """Save Blender's default scene to a file."""
    bpy.ops.wm.save_as_mainfile(filepath=job["target"])
    send(saved=0)


def try_eevee(bpy: Any, job: dict[str, Any], send: Send) -> None:
    """Render an empty picture with EEVEE, and send the name of the OpenGL renderer."""
    import gpu  # type: ignore[import-not-found]  # noqa: PLC0415 - exists only inside Blender

    scene = bpy.context.scene
    # Compiling the shaders of the default scene takes longer than the probe may.
    for item in [item for item in scene.objects if item.type != "CAMERA"]:
        bpy.data.objects.remove(item)
    scene.world = None
    scene.render.engine = _eevee(bpy)
    scene.eevee.taa_render_samples = 1
    scene.render.resolution_x = scene.render.resolution_y = 16
    scene.render.filepath = job["target"]
    bpy.ops.render.render(write_still=True)
    send(renderer=gpu.platform.renderer_get())


def warm(bpy: Any, job: dict[str, Any], send: Send) -> None:
    """Render a tiny picture of the default scene on the GPU, so that the driver compiles and caches the kernels."""
    scene = bpy.context.scene
    scene.render.engine, scene.cycles.device, scene.cycles.samples = "CYCLES", "GPU", 1
    scene.cycles.use_denoising = job["denoiser"]
    scene.render.resolution_x = scene.render.resolution_y = 16
    scene.render.filepath = job["target"]
    bpy.ops.render.render(write_still=True)
    send(saved=0)


def render(bpy: Any, job: dict[str, Any], send: Send) -> None:
    """Render the frames one after the other; reuse intact frames of an earlier run."""
    scene = _scene(bpy, job)
    warnings = _warnings(bpy, defused=_defuse(bpy))
    _choose_engine(bpy, scene, job)
    _choose_picture(scene, job)
    _choose_quality(scene, job, warnings)
    _choose_camera(scene, job)
    width, height, samples = _measure(scene, job)
    frames = job["frames"] if job["frames"] is not None else [scene.frame_current]
    if min(frames) < 0:
        raise Refused("The file's current frame is negative; set frame or frames.")
    region = _choose_region(scene, job, width, height)
    send(
        scene={
            "region": region,
            "bordered": region is not None and scene.render.use_border,
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
        picture = job["made"].get(str(frame))
        if picture is not None and _intact(bpy, picture, job["format"], (width, height)):
            send(reused=frame)
        else:
            missing.append(frame)
    # Otherwise everything in the scene is prepared again for each frame.
    scene.render.use_persistent_data = len(missing) > 1
    for frame in missing:
        _render_frame(bpy, scene, frame, job)
        send(saved=frame)


def compare(bpy: Any, job: dict[str, Any], send: Send) -> None:
    """Compare a region of two pictures, without its margin; send their formats, sizes and differences of values from 0 to 1."""
    left, top, width, height = job["region"]
    pictures = []
    for path in job["pictures"]:
        try:
            image = bpy.data.images.load(path)
            size = tuple(image.size)  # reading the size decodes it; a damaged picture has none
        except RuntimeError:
            size = (0, 0)
        if not all(size):
            send(unreadable=path)
            return
        # Otherwise Blender converts the values by the color profile that the file names.
        image.colorspace_settings.name = "Non-Color"
        pictures.append((image.file_format, size, image))
    (own_format, own_size, own_values), (their_format, their_size, their_values) = pictures
    compared: dict[str, Any] = {"formats": [own_format, their_format], "sizes": [own_size, their_size]}
    if own_size == their_size:
        inner = MARGIN if min(width, height) > 4 * MARGIN else 0
        box = (left + inner, top + inner, width - 2 * inner, height - 2 * inner)
        compared["mean"], compared["greatest"], compared["at"] = _differences(
            _values(own_values, box), _values(their_values, box), box
        )
    send(compared=compared)


def _values(image: Any, box: tuple[int, int, int, int]) -> list[array[float]]:
    """Return red, green and blue of each pixel in a box, by row from the top."""
    width, height = image.size
    left, top, columns, rows = box
    values = array("f", bytes(4 * 4 * width * height))
    image.pixels.foreach_get(values)
    pixels = []
    for row in range(top, top + rows):
        start = 4 * ((height - 1 - row) * width + left)  # Blender's first row is the lowest
        line = values[start : start + 4 * columns]
        del line[3::4]  # opacity
        pixels.append(line)
    return pixels


def _differences(
    own_rows: list[array[float]], their_rows: list[array[float]], box: tuple[int, int, int, int]
) -> tuple[float, float, list[int]]:
    """Return the mean and the greatest difference of values, and the pixel of the latter."""
    total, greatest, at, count = 0.0, 0.0, [box[0], box[1]], 0
    for row, pair in enumerate(zip(own_rows, their_rows)):  # noqa: B905 - Blender's Python may be older than `strict`
        for column, (own_value, their_value) in enumerate(zip(*pair)):  # noqa: B905 - as above
            # EXR has values beyond white, which look the same.
            distance = abs(min(max(own_value, 0.0), 1.0) - min(max(their_value, 0.0), 1.0))
            if not distance <= 1.0:
                distance = 0.0 if own_value != own_value and their_value != their_value else 1.0  # noqa: PLR0124 - not a number
            total, count = total + distance, count + 1
            if distance > greatest:
                greatest, at = distance, [box[0] + column // 3, box[1] + row]
    return total / max(1, count), greatest, at


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
    """Remove from all scenes the nodes that write files, and styles that run Python in spite of --disable-autoexec.

    Returns whether there was any such Python.
    """
    defused = False
    trees = list(bpy.data.node_groups)
    for scene in bpy.data.scenes:
        trees.append(getattr(scene, "node_tree", None))
        for layer in scene.view_layers:
            # Freestyle runs the style modules of its scripting mode even with --disable-autoexec.
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
    """Return the reasons why the picture may differ from that of the client's own Blender."""
    warnings = []
    missing = [
        os.path.basename(path)[:100]  # noqa: PTH119 - paths of any system, as Blender wrote them
        for path in bpy.utils.blend_paths(absolute=True, packed=False, local=False)
        if not path.startswith("<") and not os.path.exists(path)  # noqa: PTH110 - as above
    ]
    if missing:
        listed = ", ".join(sorted(set(missing))[:MAX_NAMES])
        warnings.append(
            f"The scene uses files that are not packed into it (use File > External Data > Pack Resources): {listed}"
        )
    if bpy.app.autoexec_fail or defused:
        warnings.append(
            "Python in the file (driver expressions, registered texts, styles of Freestyle) is not run."
        )
    # Blender drops what it does not know, without an error.
    if tuple(bpy.data.version)[:2] > tuple(bpy.app.version)[:2]:
        saved, local = (
            ".".join(map(str, tuple(version)[:2])) for version in (bpy.data.version, bpy.app.version)
        )
        warnings.append(f"The file was saved by Blender {saved} and rendered by the older {local}.")
    return warnings


def _choose_engine(bpy: Any, scene: Any, job: dict[str, Any]) -> None:
    render = scene.render
    identifiers = {"cycles": "CYCLES", "eevee": _eevee(bpy)}
    if job["engine"] is not None:
        engine = job["engine"]
    else:
        engine = next((name for name, identifier in identifiers.items() if identifier == render.engine), None)
    if engine is None:
        raise Refused("The file's own engine is not supported; set engine to 'cycles' or 'eevee'.")
    if engine not in job["engines"]:
        raise Refused(
            "EEVEE needs a GPU, and this machine's Blender has none that works. Render the scene with Cycles instead: set "
            "engine: cycles.",
            "machine",
            "ENGINE_UNAVAILABLE",
        )
    render.engine = identifiers[engine]
    if engine == "cycles" and job["gpu_only"] and not job["gpu"]:
        raise Refused("Cycles cannot use a GPU on this machine.", "machine", "GPU_UNAVAILABLE")
    if engine == "cycles":
        scene.cycles.device = "GPU" if job["gpu"] else "CPU"


def _eevee(bpy: Any) -> str:
    """Return EEVEE's identifier in this version."""
    return "BLENDER_EEVEE_NEXT" if (4, 2) <= bpy.app.version[:2] < (5, 0) else "BLENDER_EEVEE"


def _choose_picture(scene: Any, job: dict[str, Any]) -> None:
    """Set size, transparency and file format."""
    render, settings = scene.render, scene.render.image_settings
    if job["width"] is not None or job["height"] is not None:
        width, height = _size(render)
        render.resolution_x, render.resolution_y = job["width"] or width, job["height"] or height
        render.resolution_percentage = 100
    if job["transparent"] is not None:
        render.film_transparent = job["transparent"]
    # The file may set any of them.
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
    """Set samples, seed, denoising, and how few samples suffice."""
    if scene.render.engine != "CYCLES":
        if job["samples"] is not None:
            scene.eevee.taa_render_samples = job["samples"]
        return
    cycles = scene.cycles
    if job["samples"] is not None:
        cycles.samples = job["samples"]
        # A view layer may have samples of its own, which would change the price.
        cycles.use_layer_samples = "IGNORE"
    if job["seed"] is not None:
        cycles.seed = job["seed"]
    denoise = cycles.use_denoising if job["denoise"] is None else job["denoise"]
    if denoise and not job["denoiser"]:
        # The client asked for it in the request; a setting in the file alone is only worth a warning.
        if job["denoise"]:
            raise Refused(
                "This machine's Blender was built without a denoiser.", "machine", "DENOISER_UNAVAILABLE"
            )
        warnings.append("The scene uses denoising, but the Blender that rendered it has no denoiser.")
    cycles.use_denoising = denoise and job["denoiser"]
    if cycles.use_denoising:
        cycles.denoiser, cycles.denoising_use_gpu = "OPENIMAGEDENOISE", job["gpu"]
    if job["noise_threshold"] is not None:
        cycles.use_adaptive_sampling = job["noise_threshold"] > 0
        cycles.adaptive_threshold = job["noise_threshold"]


def _choose_camera(scene: Any, job: dict[str, Any]) -> None:
    if job["camera"] is None:
        return
    cameras = {item.name: item for item in scene.objects if item.type == "CAMERA"}
    if job["camera"] not in cameras:
        raise Refused(f"The scene has no camera {job['camera']!r}; it has {_names(cameras.values())}.")
    scene.camera = cameras[job["camera"]]
    for marker in scene.timeline_markers:
        marker.camera = None  # otherwise it would replace the camera at its frame


def _measure(scene: Any, job: dict[str, Any]) -> tuple[int, int, int]:
    """Return width, height and samples of each frame. Raises `Refused` if the file's own values exceed the limits."""
    width, height = _size(scene.render)
    cycles = scene.render.engine == "CYCLES"
    samples = scene.cycles.samples if cycles else max(1, scene.eevee.taa_render_samples)
    if width * height > job["max_pixels"]:
        raise Refused(f"The picture is too large ({width}x{height}); set resolution_x and resolution_y.")
    if samples > job["max_samples"]:
        raise Refused(f"The scene has too many samples ({samples}); set samples.")
    return width, height, samples


def _choose_region(scene: Any, job: dict[str, Any], width: int, height: int) -> list[int] | None:
    """Render only the region around a job's tile, and return it: left, top, width and height in pixels. None without a tile.

    Denoising, compositing and EEVEE look at pixels outside, so they need the whole picture; the region is compared all the same.
    """
    if job["tile"] is None:
        return None
    sides = min(width, TILE), min(height, TILE)
    # Aligned with the blocks of a JPEG.
    left, top = (
        int(part * (full - side)) // BLOCK * BLOCK
        for part, full, side in zip(job["tile"], (width, height), sides)  # noqa: B905 - see above
    )
    render = scene.render
    nodes = getattr(scene, "use_nodes", False) or getattr(scene, "compositing_node_group", None) is not None
    composited = (render.use_compositing and nodes) or (
        render.use_sequencer and scene.sequence_editor is not None
    )
    if render.engine == "CYCLES" and not scene.cycles.use_denoising and not composited:
        # Not cropped, because the dithering of a pixel depends on its position in the picture.
        render.use_border, render.use_crop_to_border = True, False
        render.border_min_x, render.border_max_x = left / width, (left + sides[0]) / width
        render.border_min_y, render.border_max_y = 1 - (top + sides[1]) / height, 1 - top / height
    return [left, top, *sides]


def _size(render: Any) -> tuple[int, int]:
    percent = render.resolution_percentage
    return render.resolution_x * percent // 100, render.resolution_y * percent // 100


def _intact(bpy: Any, path: str, kind: str, size: tuple[int, int]) -> bool:
    """Return whether a picture is complete and has this size."""
    if not Path(path).read_bytes().endswith(ENDINGS[kind]):
        return False
    try:
        image = bpy.data.images.load(path)
    except RuntimeError:
        return False
    complete = tuple(image.size) == size  # reading the size decodes it; a damaged picture has none
    # Pictures stay in memory until Blender ends, and a job may have a thousand.
    bpy.data.images.remove(image)
    return complete


def _names(items: Any) -> str:
    names = sorted(item.name for item in items)
    omitted = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return (", ".join(repr(name) for name in names[:MAX_NAMES]) or "none") + omitted


def _open(bpy: Any, path: str) -> None:
    """Open a scene without running its scripts. Ends Blender if that fails; the reason is printed."""
    try:
        bpy.ops.wm.open_mainfile(filepath=path, load_ui=False, use_scripts=False)
    except RuntimeError as error:
        _end(UNREADABLE, "Error: " + " ".join(str(error).split()).removeprefix("Error: "))


def _end(status: int, line: str = "") -> None:
    """End Blender with this status, after printing a line. What it would do on its own depends on how it was started."""
    if (bpy := sys.modules.get("bpy")) is not None:
        shutil.rmtree(bpy.app.tempdir, ignore_errors=True)
    sys.stdout.write(f"{line}\n")
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    ctypes.CDLL(None).fflush(None)  # what Blender itself has printed
    os._exit(status)


def _perform(job: dict[str, Any], send: Send) -> None:
    """Perform the job's task."""
    import bpy  # type: ignore[import-not-found]  # noqa: PLC0415 - exists only inside Blender

    if "file" in job:
        _open(bpy, job["file"])
    for scene in bpy.data.scenes:
        scene.render.threads_mode, scene.render.threads = "FIXED", job["threads"]
    if bpy.app.version[:2] >= REPORTS_STATISTICS:
        bpy.app.handlers.render_stats.append(lambda text, *_: send(statistics=text))
    tasks = {
        "describe": describe,
        "save": save,
        "try_eevee": try_eevee,
        "warm": warm,
        "render": render,
        "compare": compare,
    }
    try:
        tasks[job["task"]](bpy, job, send)
    except Refused as refusal:
        send(refused={"message": str(refusal), "fault": refusal.fault, "code": refusal.code})


def main() -> None:
    """Entry point."""
    job = json.loads(Path(sys.argv[-1]).read_text(encoding="utf-8"))
    sys.path.extend(job["packages"])

    def send(**message: Any) -> None:
        # On a line of its own, even if Blender is in the middle of one.
        sys.stdout.write(f"\n{job['mark']}{json.dumps(message)}\n")
        sys.stdout.flush()

    try:
        _perform(job, send)
    except Exception:  # noqa: BLE001 - the caller reads the exit status
        traceback.print_exc()
        _end(FAULT)
    _end(0)


if __name__ == "__main__":
    main()
