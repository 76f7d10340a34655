"""Checks of the Windows Subsystem for Linux: where the card's driver, memory, services and disks are not what they are on Linux.

Sources: https://learn.microsoft.com/windows/wsl/wsl-config, https://docs.nvidia.com/cuda/wsl-user-guide.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from agent.core.values.quantities import gibibytes
from agent.diagnostics import Diagnostic, ok
from agent.miner.doctor.diagnostics import found
from agent.miner.machine import hardware
from agent.settings import Settings

_GOOD_MEMORY: Final = 8 * 2**30
_SECOND: Final = "wsl2"
_WINDOWS_DISK: Final = re.compile(r"/mnt/[a-z](/|$)")
_DRIVER: Final = "usr/lib/wsl/lib/libcuda.so.1"
_LINUX_DRIVERS: Final = ("usr/lib/x86_64-linux-gnu/libcuda.so.1", "usr/lib64/libcuda.so.1")


def wsl(
    settings: Settings, root: Path = Path("/"), release: str | None = None, memory: int | None = None
) -> list[Diagnostic]:
    """Check what is special in WSL; nothing elsewhere. `release` is the kernel's, `memory` its bytes; `root` replaces the file system's."""
    release = (release or os.uname().release).lower()
    if "microsoft" not in release:
        return []
    # The kernel of version 1 is Windows itself, without namespaces, cards and most of /proc.
    if _SECOND not in release and not (root / "dev/dxg").exists():
        return [found("wsl_first", release=release)]
    problems = [
        *_card(root),
        *_systemd(root),
        *_memory(root, hardware.memory_total() if memory is None else memory),
        *_disks(settings),
    ]
    return problems or [ok("wsl", f"WSL2 ({release}) has the card, systemd and enough memory.")]


def _card(root: Path) -> Iterator[Diagnostic]:
    if not (root / "dev/dxg").exists():
        yield found("wsl_no_card", missing="/dev/dxg")
    elif not (root / _DRIVER).exists():
        yield found("wsl_no_card", missing=f"/{_DRIVER}")
    for name in _LINUX_DRIVERS:
        # Windows' driver may be linked there, but a file is a driver for Linux, which finds no card.
        if (root / name).exists() and not (root / name).resolve().is_relative_to(
            (root / "usr/lib/wsl").resolve()
        ):
            yield found("wsl_linux_driver", path=f"/{name}")


def _systemd(root: Path) -> Iterator[Diagnostic]:
    if (root / "run/systemd/system").is_dir():
        return
    if (_option(root / "etc/wsl.conf", "boot", "systemd") or "").lower() == "true":
        yield found("wsl_restart")
    else:
        yield found("wsl_no_systemd")


def _memory(root: Path, memory: int) -> Iterator[Diagnostic]:
    if memory >= _GOOD_MEMORY:
        return
    limits = [
        limit
        for file in sorted((root / "mnt/c/Users").glob("*/.wslconfig"))
        if (limit := _option(file, "wsl2", "memory")) is not None
    ]
    limit = (
        f"the limit in .wslconfig is {limits[0]}"
        if limits
        else "without a limit in .wslconfig, half of Windows' memory"
    )
    yield found("wsl_memory", memory=gibibytes(memory), limit=limit)


def _disks(settings: Settings) -> Iterator[Diagnostic]:
    for setting in ("data_dir", "models_dir", "cache_dir"):
        directory: Path = getattr(settings, setting)
        if _WINDOWS_DISK.match(str(directory.absolute())):
            yield found("wsl_windows_disk", directory=directory, setting=setting)


def _option(file: Path, section: str, name: str) -> str | None:
    """Return the value of an option in one of WSL's files, None without one or if the file cannot be read."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    with suppress(OSError, UnicodeDecodeError, configparser.Error):
        parser.read_string(file.read_text(encoding="utf-8-sig"))
    value = parser.get(section, name, fallback=None)
    return None if value is None else value.strip()
