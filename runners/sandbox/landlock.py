"""The sandbox for machines without namespaces: Landlock for files, seccomp for everything else.

`landlock(7)` restricts a process to granted paths without any privilege; the paths remain those of the machine.
The filter prevents network access, signals to other processes and changes outside. docs/explanation/sandbox.md describes the limits
of this sandbox. Existing Landlock libraries restrict the calling process; here one process creates a ruleset and
another (`_launch`) enforces it, with three system calls.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import IntFlag
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from runners.api import PROBE_SECONDS, FailureCode, TimedOut, cached_probe
from runners.sandbox import _launch, gpus, seccomp
from runners.sandbox._syscalls import syscall
from runners.sandbox.users import NOBODY, User
from runners.sandbox.watch import Limits

CREATE_RULESET: Final = 444
VERSION_FLAG: Final = 1
TCP: Final = 3
"""LANDLOCK_ACCESS_NET_BIND_TCP and CONNECT_TCP: handled and never granted."""

SCOPES: Final = 3
"""LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET and LANDLOCK_SCOPE_SIGNAL."""

ABI_NETWORK: Final = 4
ABI_SCOPES: Final = 6
ABI_SHARED_USER: Final = ABI_SCOPES
"""Oldest ABI for programs that run as the agent's own user, whose processes they could otherwise signal (Linux 6.12)."""


class Access(IntFlag):
    """Rights on files, from `linux/landlock.h`."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


READ: Final = Access.EXECUTE | Access.READ_FILE | Access.READ_DIR
WRITE: Final = (
    READ
    | Access.WRITE_FILE
    | Access.REMOVE_DIR
    | Access.REMOVE_FILE
    | Access.MAKE_DIR
    | Access.MAKE_REG
    | Access.MAKE_SYM
    | Access.REFER
    | Access.TRUNCATE
)
DEVICE: Final = Access.READ_FILE | Access.WRITE_FILE | Access.IOCTL_DEV
OF_FILES: Final = Access.EXECUTE | Access.WRITE_FILE | Access.READ_FILE | Access.TRUNCATE | Access.IOCTL_DEV
"""Rights that the kernel accepts for files other than directories."""

OWN_PROC: Final = Access.READ_FILE | Access.READ_DIR
"""Rights of a program on its own part of /proc."""

OWN_PROC_ON_GPU: Final = OWN_PROC | Access.WRITE_FILE | Access.TRUNCATE
"""Those of a program that may use a GPU: CUDA does not start if it cannot name its threads, in /proc/self/task."""

END_SECONDS: Final = 2.0
"""Time limit for killed processes to end."""

SYSTEM_FILES: Final = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives")
"""The loader's configuration, and Debian's choices among programs."""

_SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_PROC: Final = (
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/filesystems",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/vm/max_map_count",
    "/proc/sys/kernel/random",
    "/proc/sys/kernel/threads-max",
)
_SYS: Final = ("/sys/devices/system/cpu", "/sys/devices/system/node", "/sys/kernel/mm/transparent_hugepage")


class _Attributes(ctypes.Structure):
    """`struct landlock_ruleset_attr` up to ABI 6."""

    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


@dataclass(frozen=True, slots=True)
class Ruleset:
    """A Landlock ruleset. `handled` are the rights that it controls, without those that the kernel does not know."""

    descriptor: int
    handled: Access

    def allow(self, path: str | Path, access: Access, *, required: bool = False) -> None:
        """Grant rights on a file, or on a directory tree. Missing paths are ignored unless `required`."""
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            if required:
                raise
            return
        try:
            rights = access & self.handled
            # The kernel refuses a rule for a file that also names rights on directories.
            if not os.path.isdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH112 - a descriptor
                rights &= OF_FILES
            rule = _launch.PathBeneath(int(rights), descriptor)
            syscall(_launch.ADD_RULE, self.descriptor, _launch.PATH_BENEATH, ctypes.addressof(rule), 0)
        finally:
            os.close(descriptor)


@cache
def abi() -> int:
    """Return the kernel's Landlock version; 0 without Landlock or if a container's filter refuses it."""
    try:
        return syscall(CREATE_RULESET, None, 0, VERSION_FLAG)
    except OSError:
        return 0


def handled(version: int) -> Access:
    """Return the rights on files that this version knows."""
    unknown = {1: Access.REFER | Access.TRUNCATE | Access.IOCTL_DEV, 2: Access.TRUNCATE | Access.IOCTL_DEV}
    rights = Access((1 << 16) - 1)
    return rights & ~(unknown.get(version) or (Access.IOCTL_DEV if version < 5 else Access(0)))  # noqa: PLR2004 - ABI 5


@contextmanager
def ruleset(
    readable: Sequence[Path], writable: Sequence[Path], *, network: bool, devices: Sequence[str] | None = None
) -> Iterator[Ruleset]:
    """Yield the rules of one run: the system's programs and libraries, a few devices, and the granted paths.

    `devices` are the names in /dev of a GPU's device files.
    """
    version = abi()
    attributes = _Attributes(
        int(handled(version)),
        TCP if version >= ABI_NETWORK and not network else 0,
        SCOPES if version >= ABI_SCOPES else 0,
    )
    # From the size, the kernel knows which fields there are; an old one refuses those that it does not know.
    size = 24 if version >= ABI_SCOPES else 16 if version >= ABI_NETWORK else 8
    descriptor = syscall(CREATE_RULESET, ctypes.addressof(attributes), size, 0)
    rules = Ruleset(descriptor, handled(version))
    try:
        for path in (*_SYSTEM, *SYSTEM_FILES, *_PROC, *_SYS):
            rules.allow(path, READ)
        for path in _DEVICES:
            rules.allow(path, DEVICE)
        for name in devices or ():
            # A card whose own files are unknown gets /dev/nvidia-caps, a directory.
            rules.allow(gpus.DEVICES / name, DEVICE | Access.READ_DIR)
        for path in gpus.READABLE if devices is not None else ():
            rules.allow(path, Access.READ_FILE | Access.READ_DIR)
        for granted in readable:
            rules.allow(granted, READ, required=True)
        for granted in writable:
            rules.allow(granted, WRITE, required=True)
        yield rules
    finally:
        with suppress(OSError):
            os.close(descriptor)


class Instructions(NamedTuple):
    """The instructions for `_launch`, in its order.

    Descriptors: the ruleset, the two filters, and the pipe to which it writes its process id. `parent` is the process that
    must still exist; `user` is the user and group to become, or `NO_USER`, and `search` and `cards` are further groups; `proc` are the
    rights on the program's own part of /proc. The limits are those of `setrlimit(2)`, `processes` 0 for none.
    """

    rules: int
    first_filter: int
    second_filter: int
    ready: int
    parent: int
    user: int
    search: int
    cards: int
    proc: int
    memory: int
    cpu: int
    output: int
    files: int
    processes: int


@contextmanager
def launched(
    rules: Ruleset,
    network: seccomp.Network,
    user: User | None,
    limits: Limits,
    files: int,
    proc: Access = OWN_PROC,
) -> Iterator[tuple[list[str], list[int]]]:
    """Yield the beginning of the command line, and the descriptors to inherit. At the end all processes of the program are killed.

    `proc` are the rights on its own part of /proc, which the processes that it starts do not have on theirs.
    The filter prevents them from leaving their process group.
    """
    with ExitStack() as stack:
        first, second = stack.enter_context(seccomp.opened(seccomp.filters(network, landlock=True)))
        reading, writing = os.pipe()
        stack.callback(os.close, reading)
        stack.callback(os.close, writing)
        # The pipe stays empty if the program never started, and then there is nothing to end.
        os.set_blocking(reading, False)
        instructions = Instructions(
            rules=rules.descriptor,
            first_filter=first,
            second_filter=second,
            ready=writing,
            parent=os.getpid(),
            user=_launch.NO_USER if user is None else user.id,
            search=_launch.NO_USER if user is None else user.search,
            cards=_launch.NO_USER if user is None or user.cards is None else user.cards,
            proc=int(proc & rules.handled),
            memory=limits.memory,
            cpu=max(1, round(limits.cpu_seconds)),
            output=limits.output if limits.file is None else min(limits.file, limits.output),
            files=files,
            processes=0 if user is None else limits.processes,
        )
        words = [sys.executable, "-I", "-S", _launch.__file__, ",".join(map(str, instructions))]
        try:
            yield words, [rules.descriptor, first, second, writing]
        finally:
            with suppress(BlockingIOError):
                end_group(int(os.read(reading, 32)))


def end_group(group: int) -> None:
    """Kill a process group and wait until it has ended."""
    end = time.monotonic() + END_SECONDS
    with suppress(ProcessLookupError):
        while time.monotonic() < end:
            # Again and again: a process may fork between two signals.
            os.killpg(group, signal.SIGKILL)
            with suppress(ChildProcessError):  # this process adopts orphans, or another does
                while os.waitpid(-group, os.WNOHANG) != (0, 0):
                    pass
            time.sleep(0.001)


@cached_probe
def unavailable() -> str | None:
    """Return why this sandbox cannot be used here, with a remedy; None if it can. Starts it. Raises `TimedOut`."""
    version = abi()
    if version == 0:
        return (
            "Landlock is not available: it needs Linux 5.13 or newer with landlock among the kernel's LSMs (boot with lsm=landlock,...), and "
            "in a container a seccomp profile that allows it, as Docker's own does since version 20.10.8."
        )
    if version < ABI_SHARED_USER and os.geteuid() != 0:
        return (
            f"This kernel's Landlock (version {version}) does not prevent programs of one user from signalling each other, which needs "
            f"version {ABI_SHARED_USER} (Linux 6.12); run the agent as root, so that sandboxed programs get their own users."
        )
    return seccomp.unavailable() or _failure()


def _failure() -> str | None:
    user = User(NOBODY, NOBODY) if os.geteuid() == 0 else None
    limits = Limits(memory=2**30, output=2**20, seconds=PROBE_SECONDS, cpu_seconds=PROBE_SECONDS, processes=0)
    with (
        ruleset([], [], network=False) as rules,
        launched(rules, "none", user, limits, 64) as (words, descriptors),
    ):
        try:
            probe = subprocess.run(  # noqa: S603 - a fixed command
                [*words, "true"],
                capture_output=True,
                text=True,
                timeout=PROBE_SECONDS,
                check=False,
                env={"PATH": os.defpath},
                pass_fds=descriptors,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            raise TimedOut(
                f"The test of the Landlock sandbox did not end within {PROBE_SECONDS:g} s.",
                code=FailureCode.SANDBOX_UNAVAILABLE,
            ) from None
        except OSError as error:
            return f"The Landlock sandbox could not be started ({error})."
    if probe.returncode == 0:
        return None
    return f"The Landlock sandbox does not work here ({probe.stderr.strip()[-300:]})."
