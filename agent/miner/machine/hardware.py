"""The processor, memory and disk that this process may use, which in a container is less than the machine has."""

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
    """How many logical processors this process may use: its affinity, less if its control group has a quota."""
    return _within_quota(len(os.sched_getaffinity(0)), cgroup)


def physical_cores(cgroup: Path = _CGROUP) -> int:
    """How many physical cores these are. Numeric engines gain nothing from two threads on one core."""
    cores = set()
    for processor in os.sched_getaffinity(0):
        try:
            cores.add(Path(_TOPOLOGY.format(processor)).read_text(encoding="ascii"))
        except OSError:  # some virtual machines say nothing: count each processor as a core
            cores.add(str(processor))
    return _within_quota(len(cores), cgroup)


def _within_quota(count: int, cgroup: Path) -> int:
    try:
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
        return max(1, min(count, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no control groups of version 2, or "max"
        return count


def memory_total(cgroup: Path = _CGROUP) -> int:
    """Bytes of memory that this process may use: the machine's, less if its control group has a limit."""
    total = int(psutil.virtual_memory().total)
    try:
        return min(total, int((cgroup / "memory.max").read_text(encoding="ascii")))
    except (OSError, ValueError):
        return total


def memory_available(cgroup: Path = _CGROUP) -> int:
    """Bytes of memory that this process and its children could still take, without anything being swapped out."""
    free = int(psutil.virtual_memory().available)
    try:
        limit = int((cgroup / "memory.max").read_text(encoding="ascii"))
        used = int((cgroup / "memory.current").read_text(encoding="ascii"))
        return min(free, max(0, limit - used))
    except (OSError, ValueError):
        return free


def disk_free(directory: Path) -> int:
    """Bytes free for this user where `directory` is or would be made."""
    while not directory.exists():
        directory = directory.parent
    return int(psutil.disk_usage(str(directory)).free)


def cpu_name() -> str:
    """The processor's name as its maker writes it, or at least its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()
