"""The caches in which NVIDIA's driver stores compiled kernels and shaders, so that a run need not wait for compilation.

A card newer than Blender's build compiles the kernels for minutes at their first use. A scene can take over Blender, and a
cache that it could write would reach the scenes of other clients. So only a probe with Blender's default scene fills the
cache, and each run gets a copy of its own, which is deleted afterwards: the driver must be able to lock and write it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from runners.api import Device, RunnerError, Tools

DIRECTORY: Final = "blender-kernels"
"""The directory of the caches, in the cache directory."""

INSIDE: Final = "/kernels"

_MAX_SIZE: Final = 2**30
_DRIVER: Final = Path("/sys/module/nvidia/version")


def environment(inside: str) -> dict[str, str]:
    """Return the variables that make the driver, OptiX, Cycles and OpenGL use the cache at this path."""
    return {
        "CUDA_CACHE_PATH": f"{inside}/cuda",
        "CUDA_CACHE_MAXSIZE": str(_MAX_SIZE),
        "OPTIX_CACHE_PATH": f"{inside}/optix",
        "XDG_CACHE_HOME": f"{inside}/xdg",
        "__GL_SHADER_DISK_CACHE": "1",
        "__GL_SHADER_DISK_CACHE_PATH": f"{inside}/gl",
    }


def location(tools: Tools, device: Device, version: tuple[int, ...], backend: str) -> Path:
    """Return the directory of the cache for this card, driver and Blender."""
    try:
        driver = _DRIVER.read_text(encoding="ascii").strip()
    except OSError:
        driver = "unknown"
    software = f"driver-{driver}-blender-{'.'.join(map(str, version))}"
    return tools.cache_dir / DIRECTORY / software / f"{backend}-{device.compute_capability}"


def fill(cache: Path, probe: Callable[[Path, Path], bool]) -> None:
    """Make the cache unless it exists, and delete those of other drivers and other versions of Blender.

    `probe(kernels, output)` renders with the cache `kernels`, writes its picture to `output`, and returns whether that
    succeeded; if it did not, there is no cache, and each run compiles the kernels for itself.
    """
    if cache.is_dir():
        return
    cache.parent.mkdir(parents=True, exist_ok=True)
    for version in cache.parent.parent.iterdir():
        # A cache has up to a gigabyte, and the driver never goes back.
        if version != cache.parent:
            shutil.rmtree(version, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="aitbc-kernels-", ignore_cleanup_errors=True) as directory:
        kernels, output = Path(directory, "kernels"), Path(directory, "output")
        kernels.mkdir()
        output.mkdir()
        try:
            rendered = probe(kernels, output)
        except RunnerError:
            return
        if rendered:
            _publish(kernels, cache)


def copied(cache: Path, target: Path) -> Path:
    """Make the directory `target` with a copy of the cache, if there is one, and return it."""
    if cache.is_dir():
        shutil.copytree(cache, target, symlinks=True)
    else:
        target.mkdir()
    return target


def _publish(kernels: Path, cache: Path) -> None:
    """Publish a complete cache, unless another process was faster."""
    # In the same folder, so that renaming is atomic: a reader sees no cache or a whole one.
    with tempfile.TemporaryDirectory(prefix=".", dir=cache.parent, ignore_cleanup_errors=True) as directory:
        moved = Path(directory, cache.name)
        shutil.copytree(kernels, moved, symlinks=True)
        try:
            moved.rename(cache)
        except OSError:
            return
