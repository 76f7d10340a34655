"""The processes of one run, found through /proc."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

ORPHAN_GRACE = 2.0
"""Seconds to wait for the sandbox's first process, which ends together with bubblewrap."""

PAUSE_SECONDS = 0.002
"""Seconds between two looks at a process that is about to end."""


class FirstProcess:
    """The first process of a sandbox, once bubblewrap has announced it. When it ends, the kernel ends all others."""

    def __init__(self, announced: int) -> None:
        self._pipe = os.fdopen(announced, "rb", buffering=0)
        os.set_blocking(announced, False)
        self._written = b""
        self.pid: int | None = None
        self._namespace: str | None = None
        self._before = len(psutil.pids())

    def find(self) -> None:
        """Read the announcement if it has arrived."""
        if self.pid is not None:
            return
        self._written += self._pipe.read(4096) or b""
        try:
            self.pid = int(json.loads(self._written)["child-pid"])
        except (ValueError, KeyError, TypeError):
            return
        self._namespace = _process_namespace(self.pid)

    def kill(self) -> None:
        """End the sandbox with all its processes."""
        # The kernel may have given the id to another process since.
        if self.pid is not None and self._is_member(self.pid):
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def holds_more_than(self, count: int) -> bool:
        """Return whether the sandbox has more processes; quick, and exact only if the machine has as many additional ones."""
        processes = psutil.pids()
        if self._namespace is None or len(processes) - self._before <= count // 2:
            return False
        members = 0
        # The newest first, which are probably the sandbox's own.
        for pid in sorted(processes, reverse=True):
            members += self._is_member(pid)
            if members > count:
                return True
        return False

    def reap(self) -> None:
        """Wait until it has ended with the whole sandbox; reap it if this process has adopted it."""
        self.find()
        self._pipe.close()
        end = time.monotonic() + ORPHAN_GRACE
        while self.pid is not None and self._is_running(self.pid) and time.monotonic() < end:
            time.sleep(PAUSE_SECONDS)

    def _is_running(self, pid: int) -> bool:
        try:
            return os.waitpid(pid, os.WNOHANG) == (0, 0)
        except ChildProcessError:
            return self._is_member(pid) and state(pid) not in "ZX"

    def _is_member(self, pid: int) -> bool:
        return self._namespace is not None and _process_namespace(pid) == self._namespace


def count() -> int:
    """Return the number of processes of the machine."""
    return len(psutil.pids())


def end_all(running: Callable[[], Iterable[int]], seconds: float) -> list[int]:
    """Kill processes until none of them is `running`, for `seconds` at most: one may start another between two signals. Return their ids."""
    ended: dict[int, None] = {}
    deadline = time.monotonic() + seconds
    while (pids := list(running())) and time.monotonic() < deadline:
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        ended |= dict.fromkeys(pids)
        time.sleep(PAUSE_SECONDS)
    return list(ended)


def tree(leader: int) -> list[int]:
    """Return the descendants of a session leader, and the orphans of its session."""
    return trees([leader])[leader]


def trees(leaders: Collection[int]) -> dict[int, list[int]]:
    """Return the descendants of several session leaders, and the orphans of their sessions, by leader."""
    children: dict[int, list[int]] = {}
    members: dict[int, list[int]] = {leader: [] for leader in leaders}
    for pid in psutil.pids():
        try:
            text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            continue
        # The name of the program comes before, in brackets, and may itself contain blanks and brackets.
        _, parent, _, session = text.rpartition(")")[2].split()[:4]
        children.setdefault(int(parent), []).append(pid)
        if int(session) in members:
            members[int(session)].append(pid)
    return {leader: _descendants(pending, children) for leader, pending in members.items()}


def _descendants(pending: list[int], children: Mapping[int, list[int]]) -> list[int]:
    descendants: set[int] = set()
    while pending:
        if (pid := pending.pop()) not in descendants:
            descendants.add(pid)
            pending += children.get(pid, [])
    return sorted(descendants)


def _process_namespace(pid: int) -> str | None:
    """Return the name of a process's PID namespace; None if it has ended or cannot be inspected."""
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return None


def state(pid: int) -> str:
    """Return the kernel's abbreviation of a process's state (`proc_pid_stat(5)`); "X" if it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return "X"
    return text.rpartition(")")[2].split()[0]
