"""The processors, memory and disk that this process may use, which in a container is less than the machine has."""

from __future__ import annotations

import math
import os
import platform
from pathlib import Path
from typing import Final

import psutil

_CGROUP: Final = Path("/sys/fs/cgroup")
_TOPOLOGY: Final = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def cpu_cores(cgroup: Path = _CGROUP) -> int:
    """Return how many logical processors this process may use: its affinity, or the lower quota of its control group."""
    return _within_quota(len(os.sched_getaffinity(0)), cgroup)


def physical_cores(cgroup: Path = _CGROUP) -> int:
    """Return how many physical cores these are. Numeric engines do not benefit from two threads on one core."""
    cores = set()
    for processor in os.sched_getaffinity(0):
        try:
            cores.add(Path(_TOPOLOGY.format(processor)).read_text(encoding="ascii"))
        except OSError:  # not reported by some virtual machines: count each processor as a core
            cores.add(str(processor))
    return _within_quota(len(cores), cgroup)


def _within_quota(count: int, cgroup: Path) -> int:
    try:
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
        return max(1, min(count, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no control groups of version 2, or "max"
        return count


def memory_total(cgroup: Path = _CGROUP) -> int:
    """Return the bytes of memory that this process may use: the machine's, or the lower limit of its control group."""
    total = int(psutil.virtual_memory().total)
    try:
        return min(total, int((cgroup / "memory.max").read_text(encoding="ascii")))
    except (OSError, ValueError):
        return total


def memory_available(cgroup: Path = _CGROUP) -> int:
    """Return the bytes of memory that this process and its children can still use without swapping."""
    free = int(psutil.virtual_memory().available)
    try:
        limit = int((cgroup / "memory.max").read_text(encoding="ascii"))
        memory_used = int((cgroup / "memory.current").read_text(encoding="ascii"))
        return min(free, max(0, limit - memory_used))
    except (OSError, ValueError):
        return free


def disk_free(directory: Path) -> int:
    """Return the bytes free for this user on the disk of `directory`, which may not exist yet."""
    return int(psutil.disk_usage(str(nearest(directory))).free)


def nearest(directory: Path) -> Path:
    """Return the directory, or the nearest existing one above it."""
    while not directory.exists():
        directory = directory.parent
    return directory


def cpu_name() -> str:
    """Return the processor's model name, or its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()
