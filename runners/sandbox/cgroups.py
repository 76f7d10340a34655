"""A control group (cgroup v2) for each run: the kernel itself bounds memory, processes and processor time.

The kernel also counts resources that reading /proc misses (unmapped memory, short-lived processes), and it is faster.
An agent may create groups below its own group if it was delegated to it (systemd's `Delegate=`, a container with a writable
/sys/fs/cgroup), and as root below a group at the top. See the kernel's Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import errno
import itertools
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from runners.api import PROBE_SECONDS

OWN_GROUP = "agent"
"""The group into which the agent moves itself, because only groups without processes may have subgroups with controllers."""

TOP_GROUP = "aitbc-agent"
"""The top-level group that an agent creates as root if no group was delegated to it."""

PERIOD = 100_000
"""Period of the processor time limit in microseconds; the kernel's default."""

ATTEMPTS = 20
"""Attempts to move the agent's processes, which may start others, and to remove a group whose processes are ending."""

PAUSE = 0.05

_REQUIRED = frozenset({"memory", "pids"})
_USED = _REQUIRED | {"cpu"}
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Group:
    """The group of one run."""

    path: Path

    def entering(self, command: Sequence[str]) -> list[str]:
        """Return a command that enters the group and then becomes `command`."""
        # The shell moves itself before the program exists, so that not even its first process is outside.
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.path / "cgroup.procs"), *command]

    def kill(self) -> None:
        """Kill all processes in the group at once (Linux 5.14)."""
        with suppress(OSError):
            (self.path / "cgroup.kill").write_text("1", encoding="ascii")

    def ran_out_of_memory(self) -> bool:
        """Return whether the kernel ended a process of the group because of its memory."""
        return self._number("memory.events", "oom_kill") > 0

    def was_refused_processes(self) -> bool:
        """Return whether the kernel refused the group a process or thread."""
        return self._number("pids.events", "max") > 0

    def cpu_seconds(self) -> float:
        """Return the processor time of all processes, including ended ones."""
        return self._number("cpu.stat", "usage_usec") / 1e6

    def remove(self) -> None:
        """Remove the group. Its killed processes may take a moment to end."""
        for _ in range(ATTEMPTS):
            with suppress(FileNotFoundError):
                try:
                    self.path.rmdir()
                except OSError as error:
                    if error.errno != errno.EBUSY:
                        return
                    self.kill()
                    time.sleep(PAUSE)
                    continue
            return

    def _number(self, file: str, key: str) -> int:
        try:
            lines = (self.path / file).read_text(encoding="ascii").splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) for line in lines if line.startswith(f"{key} ")), 0)


def create(*, memory: int, processes: int, cpus: float | None) -> Group | None:
    """Return a new group with these limits (bytes, processes and threads, processors); None if it cannot be created."""
    parent = base()
    if parent is None:
        return None
    path = parent / f"run-{os.getpid()}-{next(_numbers)}"
    try:
        path.mkdir()
        _write(path / "memory.max", memory)
        # One killed process of several would leave a program that waits for it until the time limit.
        _write(path / "memory.oom.group", 1)
        _write(path / "pids.max", processes)
        # Without swap in the kernel the file is missing. With it, a program would slow the machine down before it reaches its limit.
        if (path / "memory.swap.max").exists():
            _write(path / "memory.swap.max", 0)
        if cpus is not None and (path / "cpu.max").exists():
            # The kernel accepts no quota below a millisecond.
            _write(path / "cpu.max", f"{max(1000, round(cpus * PERIOD))} {PERIOD}")
    except OSError:
        Group(path).remove()
        return None
    return Group(path)


@cache
def base() -> Path | None:
    """Return the parent of the runs' groups; None if this process may not create groups.

    The first call moves the processes of the agent's own group into a group below it (`OWN_GROUP`).
    """
    for candidate in _candidates():
        with suppress(OSError, subprocess.SubprocessError):
            _prepare(candidate)
            _remove_stale(candidate)
            _try(candidate)
            return candidate
    return None


def _candidates() -> Iterator[Path]:
    own_group = _own()
    if own_group is None:
        return
    mount, group = own_group
    # The agent has already moved its processes down, and this one is among them.
    if group.name == OWN_GROUP and group != mount:
        yield group.parent
    # In a container, the mount point is the container's own group.
    if group == mount or _is_delegated(group):
        yield group
    if os.geteuid() == 0:
        yield mount / TOP_GROUP


def _own() -> tuple[Path, Path] | None:
    """Return the mount point of cgroup v2, and the group of this process there."""
    try:
        groups = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    # Lines with other numbers are hierarchies of version 1.
    group = next((line.removeprefix("0::") for line in groups if line.startswith("0::")), None)
    for line in mounts:
        fields, _, kind = line.partition(" - ")
        root, mount = fields.split()[3:5]
        # A container may see only the part of the hierarchy below `root`.
        if group is not None and kind.startswith("cgroup2 ") and Path(group).is_relative_to(root):
            return Path(mount), Path(mount) / Path(group).relative_to(root)
    return None


def _is_delegated(group: Path) -> bool:
    """Return whether systemd has delegated this group to its service (`Delegate=`); it marks such groups."""
    for name in ("user.delegate", "trusted.delegate"):
        with suppress(OSError):
            if os.getxattr(group, name) == b"1":
                return True
    return False


def _prepare(group: Path) -> None:
    """Enable the controllers for groups below this one. Raises `OSError` if that is not possible."""
    if group.name == TOP_GROUP:
        group.mkdir(exist_ok=True)
    # A group may only pass on controllers that its own parent has given it.
    offered = set(_read(group / "cgroup.controllers").split())
    if not offered >= _REQUIRED:
        raise OSError(errno.ENOTSUP, "the group has no controllers for memory and processes")
    missing = (_USED & offered) - set(_read(group / "cgroup.subtree_control").split())
    if not missing:
        return
    for attempt in range(1, ATTEMPTS + 1):
        if (group / "cgroup.type").exists():  # every group but the root group must be empty
            _move_processes(group)
        try:
            _write(group / "cgroup.subtree_control", " ".join(f"+{name}" for name in sorted(missing)))
        except OSError as error:
            if error.errno != errno.EBUSY or attempt == ATTEMPTS:
                raise
            time.sleep(PAUSE)
        else:
            return


def _move_processes(group: Path) -> None:
    inner = group / OWN_GROUP
    inner.mkdir(exist_ok=True)
    for pid in _read(group / "cgroup.procs").split():
        with suppress(ProcessLookupError):
            _write(inner / "cgroup.procs", pid)


def _remove_stale(group: Path) -> None:
    """Remove the empty groups that killed agents have left."""
    for path in group.glob("run-*-*"):
        # The name contains the id of the agent's process: other agents of this machine may be running.
        if not Path("/proc", path.name.split("-")[1]).exists():
            with suppress(OSError):
                path.rmdir()


def _try(group: Path) -> None:
    probe = Group(group / f"run-{os.getpid()}-probe")
    probe.path.mkdir()
    try:
        _write(probe.path / "memory.max", "max")
        subprocess.run(probe.entering(["true"]), check=True, capture_output=True, timeout=PROBE_SECONDS)  # noqa: S603 - a fixed command
    finally:
        probe.remove()


def _read(path: Path) -> str:
    return path.read_text(encoding="ascii")


def _write(path: Path, value: int | str) -> None:
    path.write_text(str(value), encoding="ascii")
