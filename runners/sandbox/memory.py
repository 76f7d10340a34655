"""Main memory of a tree of processes, as far as /proc shows it.

The RSS is not sufficient: an unmapped memfd, unmapped shared pages, and files in the
sandbox's memory disks belong to no process. This module is not needed if a control group counts memory (`cgroups`).
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import psutil

PAGE = os.sysconf("SC_PAGE_SIZE")
BLOCK = 512
_MEMORY_DISKS = ("tmp", "dev/shm")
_IRRECLAIMABLE = ("RssAnon", "RssShmem", "VmSwap")


@dataclass(slots=True)
class Held:
    """Memory and files of processes beside their own pages. Sizes are bytes, by device and inode."""

    shared: dict[tuple[int, int], int] = field(default_factory=dict)
    """Unnamed files in memory: memfd, System V segments, anonymous shared mappings."""
    unlinked: dict[tuple[int, int], int] = field(default_factory=dict)
    """Deleted files on disk that are still open."""
    hidden: set[int] = field(default_factory=set)
    """Processes that hide their open files."""


def open_files(processes: Iterable[int]) -> Held:
    """Return the memory and files of the processes' open descriptors."""
    resources = Held()
    for pid in processes:
        try:
            with _as_owner_of(pid):
                for name in list(Path(f"/proc/{pid}/fd").iterdir()):
                    with suppress(OSError):
                        _add(resources, name.stat())
        except PermissionError:
            if _hides(pid):
                resources.hidden.add(pid)
        except OSError:
            continue
    return resources


def add_mapped(resources: Held, processes: Iterable[int]) -> None:
    """Add shared memory that is mapped but not open.

    Counts its pages if this process may read them (as root), otherwise the whole mapped range.
    """
    counted = set(resources.shared)
    for pid in processes:
        try:
            with _as_owner_of(pid):
                lines = Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            span, _, offset, device, inode, *_ = line.split(maxsplit=5)
            major, _, minor = device.partition(":")
            key = (os.makedev(int(major, 16), int(minor, 16)), int(inode))
            if key[0] != _shared_memory_device() or key in counted:
                continue
            resources.shared[key] = max(resources.shared.get(key, 0), _mapped(pid, span, int(offset, 16)))


def _mapped(pid: int, span: str, offset: int) -> int:
    try:
        return Path(f"/proc/{pid}/map_files/{span}").stat().st_blocks * BLOCK
    except OSError:
        begin, end = (int(word, 16) for word in span.split("-"))
        return offset + end - begin


def _add(resources: Held, status: os.stat_result) -> None:
    key = (status.st_dev, status.st_ino)
    if status.st_dev == _shared_memory_device():
        resources.shared[key] = status.st_blocks * BLOCK
    elif stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
        resources.unlinked[key] = max(status.st_size, status.st_blocks * BLOCK)


@cache
def _shared_memory_device() -> int:
    """Return the device of the kernel's internal file system for unnamed memory."""
    descriptor = os.memfd_create("probe")
    try:
        return os.fstat(descriptor).st_dev
    finally:
        os.close(descriptor)


@contextmanager
def _as_owner_of(pid: int) -> Iterator[None]:
    """Let this thread inspect a process as its user, if this process is root.

    Root without the capability CAP_SYS_PTRACE may not inspect it, as in many containers (`ptrace(2)`).
    """
    identity = _user_and_group(pid) if os.geteuid() == 0 else None
    if identity is None:
        yield
        return
    libc = _libc()
    # The group first: after the change of the user there would be no privilege to do it.
    libc.setfsgid(identity[1])
    libc.setfsuid(identity[0])
    try:
        yield
    finally:
        libc.setfsuid(os.geteuid())
        libc.setfsgid(os.getegid())


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _user_and_group(pid: int) -> tuple[int, int] | None:
    """Return a process's user and group; None if they are this process's own or it has ended."""
    fields = _status(pid)
    if "Uid" not in fields or int(fields["Uid"][0]) == os.getuid():
        return None
    return int(fields["Uid"][0]), int(fields["Gid"][0])


def _hides(pid: int) -> bool:
    """Return whether a process that cannot be inspected is not a zombie, so that it hides itself (`prctl(2)`)."""
    fields = _status(pid)
    return "State" in fields and fields["State"][0] not in "ZX"


def _status(pid: int) -> dict[str, list[str]]:
    try:
        text = Path(f"/proc/{pid}/status").read_text(errors="replace")
    except OSError:
        return {}
    return {name: values.split() for name, _, values in (line.partition(":") for line in text.splitlines())}


def rss(processes: Sequence[int]) -> int:
    """Return the RSS in bytes, counting shared pages once for each process: quick, and never too low."""
    total = 0
    for pid in processes:
        with suppress(OSError, IndexError):
            total += int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * PAGE
    return total


def irreclaimable(processes: Iterable[int]) -> int:
    """Return the bytes that the kernel can take from processes only by swapping: all but the pages of files.

    Quick, and never too low: pages that processes share count for each.
    """
    total = 0
    for pid in processes:
        fields = _status(pid)
        total += sum(int(fields[name][0]) for name in _IRRECLAIMABLE if name in fields) * 1024
    return total


def proportional(processes: Sequence[int]) -> tuple[int, int]:
    """Return the bytes of private and file pages, and those of shared memory, each process with its share of both.

    Walks the page tables, so call it only when necessary.
    """
    private = shared = 0
    for pid in processes:
        try:
            with _as_owner_of(pid):
                text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        except PermissionError:
            # Better too much than too little: a program must not escape its limit by hiding.
            private += rss([pid])
            continue
        except OSError:
            continue
        sizes = {
            name: int(values.split()[0]) * 1024
            for name, _, values in (line.partition(":") for line in text.splitlines()[1:])
        }
        shared += sizes.get("Pss_Shmem", 0)
        private += sizes.get("Pss", 0) - sizes.get("Pss_Shmem", 0) + sizes.get("SwapPss", 0)
    return private, shared


def memory_disks(first: int | None) -> int:
    """Return the bytes in the memory disks of the sandbox whose first process is `first`."""
    total = 0
    for name in _MEMORY_DISKS if first is not None else ():
        inside = Path(f"/proc/{first}/root/{name}")
        with suppress(OSError):
            # Without a disk of its own, the sandbox would be charged for the machine's.
            if inside.stat().st_dev != Path("/", name).stat().st_dev:
                disk = os.statvfs(inside)
                total += (disk.f_blocks - disk.f_bfree) * disk.f_frsize
    return total


def available() -> int:
    """Return the machine's available memory in bytes."""
    return int(psutil.virtual_memory().available)
