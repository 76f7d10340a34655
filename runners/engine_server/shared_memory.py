"""The shared memory that vLLM needs where it starts a process for each device: on several GPUs, and on the processor.

Containers have 64 MiB of it unless more is requested. One GPU needs none.
"""

from __future__ import annotations

import shutil
from pathlib import Path

DIRECTORY = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory is; nothing is written by this module

NEEDED = 256 * 2**20
"""Bytes that must be free: the largest of vLLM's queues has 240 MiB."""

ADVISED = 2**30
"""Bytes that should be free for several GPUs: NCCL copies through it what cards cannot exchange directly."""

REMEDY = (
    "In a container, request more: --shm-size=1g (docker and podman), shm_size: 1g (Compose), or an emptyDir with "
    "`medium: Memory` at /dev/shm (Kubernetes). Elsewhere: sudo mount -o remount,size=1g /dev/shm"
)


def lack(needed: int = NEEDED) -> str | None:
    """Return a sentence that says that fewer bytes are free than `needed`, None if they are, or if nothing limits them."""
    try:
        free = shutil.disk_usage(DIRECTORY).free
    except OSError:
        return None
    if free >= needed:
        return None
    return f"{needed / 2**20:.0f} MiB of shared memory are needed, and {free / 2**20:.0f} MiB are free in {DIRECTORY}."
