"""What a program needs that computes on cards: their device files, the driver's own, where it finds the cards, and its libraries.

A program gets the files of its own cards only, since a variable such as CUDA_VISIBLE_DEVICES restrains no untrusted program.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from runners.api import Device

DEVICES: Final = Path("/dev")

READABLE: Final = (
    "/sys",
    "/proc/driver/nvidia",
    "/proc/driver/nvidia-uvm",
    "/proc/devices",
    "/proc/sys/vm/mmap_min_addr",
)
"""What CUDA and NVENC read."""

LOADER_CACHE: Final = Path("/etc/ld.so.cache")
"""The loader's list of libraries, each path between zero bytes."""

DRIVER_DIRECTORIES: Final = ("/usr/local/nvidia/lib64", "/usr/lib/wsl/lib", "/run/opengl-driver/lib")
"""Where drivers lie of which the loader's list says nothing: on Google's nodes, in WSL2 and on NixOS."""

_LIBRARIES: Final = ("libcuda.so.1", "libnvidia-ml.so.1")

_DRIVERS: Final = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
"""The driver's own device files: with these alone, a program can open no card."""

_WSL: Final = "dxg"
"""The only device file in WSL2, which is for all cards."""


def device_files(device: Device | None) -> list[str] | None:
    """Return the device files for a program on this device, as names in /dev, None if it is no GPU. Some may not exist.

    If those of its cards are unknown, the files of all cards.
    """
    if device is None or device.kind != "cuda":
        return None
    if device.device_files:
        return [*_DRIVERS, *device.device_files]
    return [*sorted(path.name for path in DEVICES.glob("nvidia*")), _WSL]


def present() -> bool:
    """Return whether this machine has NVIDIA's driver."""
    return any((DEVICES / name).exists() for name in ("nvidiactl", _WSL))


def group(files: Sequence[str]) -> int | None:
    """Return the group that may open these files, None if everybody or only root may: drivers often create them for the group video."""
    for name in files:
        try:
            status = (DEVICES / name).stat()
        except OSError:
            continue
        closed = status.st_mode & (stat.S_IRGRP | stat.S_IROTH) == stat.S_IRGRP
        if closed and status.st_gid != 0 and not stat.S_ISDIR(status.st_mode):
            return status.st_gid
    return None


def library_directories() -> list[Path]:
    """Return the directories with the driver's libraries that a program finds only by LD_LIBRARY_PATH, without links.

    Those in which this process finds them by that variable; else, if the loader does not know them, those of `DRIVER_DIRECTORIES`.
    """
    own = [path for path in os.environ.get("LD_LIBRARY_PATH", "").split(":") if path.startswith("/")]
    listed = LOADER_CACHE.read_bytes() if LOADER_CACHE.exists() else b""
    directories: dict[Path, None] = {}
    for library in _LIBRARIES:
        usual = () if f"/{library}\0".encode() in listed else DRIVER_DIRECTORIES
        # Not `Path.is_file`, which raises for a directory that this user may not enter.
        file = next((path for name in (*own, *usual) if os.path.isfile(path := Path(name, library))), None)  # noqa: PTH113
        if file is not None:
            # The files may be links to others, between which the driver finds its further libraries.
            directories |= {file.parent.resolve(): None, file.resolve().parent: None}
    return list(directories)
