"""Watches one process tree: reads what it prints, and kills all of it on cancellation or when it passes a limit.

The kernel's per-process limits stop a single process; a control group stops many of them together, and where none can be
had, this does.
"""

from __future__ import annotations

import ctypes
import os
import resource
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

import psutil

from runners.sandbox import cgroups, files, memory, processes
from runners.sandbox.processes import FirstProcess

STDERR_TAIL = 64 * 1024
"""Bytes of standard error that are kept: its end, where programs say why they gave up."""

LINE_LIMIT = 64 * 1024
"""Bytes after which a line of standard output is cut."""

POLL = 0.2
"""Seconds between two looks at the process tree, each of which reads all of /proc."""

QUICK_POLL = 0.05
"""Seconds between two looks at how many processes there are: one that forks without end makes hundreds meanwhile, and the
kernel's own limit does not hold for root."""

TICK = 1.0
"""Seconds between two calls of `on_tick`, and between two looks at what was written."""

PIPE_GRACE = 1.0
"""Seconds to read what is left in the pipes after the program ended, in case a stray process holds them open."""

MACHINE_RESERVE = 256 * 2**20
"""Bytes that the machine must have left. Below it, a run during which more memory went than it may use is ended: it holds
memory that no look at its processes shows, for example in files that are on their way through a socket."""

HIDING_GRACE = 1.0
"""Seconds for which a process may not let itself be looked at: one that becomes another user does so until its `exec`."""

PR_SET_CHILD_SUBREAPER = 36
"""From `prctl(2)`: processes below this one whose parent ended become its children."""


class Ended(StrEnum):
    """Why a program is not running any more."""

    EXITED = "exited"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    CPU = "cpu"
    MEMORY = "memory"
    PROCESSES = "processes"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use.

    `memory` (bytes) bounds each process and all together, shared memory included; `output` (bytes) all files together;
    `file` (bytes) each of them, `output` where it is None; `seconds` is wall time, `cpu_seconds` the processor time of all
    processes; `processes` counts threads too where the kernel counts, and only processes where the watch does; `files` how
    many it may have in its writable directories; `cpus` how many processors it may keep busy, where the kernel can bound it.
    """

    memory: int
    output: int
    seconds: float
    cpu_seconds: float
    processes: int = 256
    files: int = 20_000
    file: int | None = None
    cpus: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended. `exit_code` is 128 + N after signal N.

    `cpu_seconds` are those of all its processes, exactly where there is a control group or this process called
    `adopt_orphans`, else what was seen while it ran. `reason` says what it had too much of, in a few words, where `ended`
    leaves that open ("more than 2 GiB of files").
    """

    ended: Ended
    exit_code: int
    stderr: str
    cpu_seconds: float
    reason: str = ""


def watch(
    command: Sequence[str],
    limits: Limits,
    *,
    directory: str | None,
    environment: Mapping[str, str],
    writable: Sequence[Path],
    on_line: Callable[[str], None] | None,
    on_tick: Callable[[float], None] | None,
    on_cancel: Callable[[Callable[[], None]], None] | None,
    announce: str | None = None,
    descriptors: Sequence[int] = (),
) -> Outcome:
    """Run `command` in its own process group until it ends or has to. See `Sandbox.run` for the callbacks.

    `announce` is the program's flag that takes a file descriptor to which it writes `{"child-pid": N}`: a process that
    does the work and may outlive the program by a moment. The program inherits the `descriptors`, and no others.
    """
    before = _children_cpu()
    announced, write_end = os.pipe()
    if announce is not None:
        command = [command[0], announce, str(write_end), *command[1:]]
    group = cgroups.create(memory=limits.memory, processes=limits.processes, cpus=limits.cpus)
    process = subprocess.Popen(  # noqa: S603 - the command is built by a runner, never by a shell
        command if group is None else group.entering(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=directory,
        env=dict(environment),
        start_new_session=True,
        pass_fds=(*descriptors, write_end) if announce is not None else descriptors,
    )
    os.close(write_end)
    tree = _Tree(process, FirstProcess(announced), group, limits, writable)
    try:
        if on_cancel is not None:
            on_cancel(lambda: tree.kill(Ended.CANCELLED))
        stderr = _follow(tree, on_line, on_tick)
    finally:
        tree.kill(Ended.EXITED)
        code = tree.reap()
    exit_code = 128 - code if code < 0 else code
    ended, reason = tree.verdict(exit_code)
    return Outcome(ended, exit_code, stderr, max(tree.cpu_seconds, _children_cpu() - before), reason)


class _Tree:
    """A program and all its descendants."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        first: FirstProcess,
        group: cgroups.Group | None,
        limits: Limits,
        writable: Sequence[Path],
    ) -> None:
        self.process = process
        self._first = first
        self._group = group
        self._limits = limits
        self._writable = writable
        self._lock = threading.Lock()
        self._deadline = time.monotonic() + limits.seconds
        self._next_tick = time.monotonic() + TICK
        self._next_check = self._next_inspection = 0.0
        self._before = processes.count()
        self._free_before = self._free = memory.available()
        self._hidden_since: dict[int, float] = {}
        self._ended: Ended | None = None
        self._reason = ""
        self.cpu_seconds = 0.0

    def kill(self, why: Ended, reason: str = "") -> None:
        """Kill every process of the tree; the first cause counts. In the sandbox its first process takes all along."""
        with self._lock:
            if self.process.returncode is not None:
                return
            if self._ended is None and why is not Ended.EXITED:
                self._ended, self._reason = why, reason
            if self._group is not None:
                self._group.kill()
            self._first.find()
            self._first.kill()
            for pid in self._pids():
                _quietly(partial(os.kill, pid, signal.SIGKILL))
            _quietly(partial(os.killpg, self.process.pid, signal.SIGKILL))

    def reap(self) -> int:
        """Wait for the killed or ended program, close its pipes and remove its group."""
        code = self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        self._first.reap()
        if self._group is not None:
            self.cpu_seconds = self._group.cpu_seconds()
            if self._ended is None and self._group.ran_out_of_memory():
                self._ended = Ended.MEMORY
            self._group.remove()
        return code

    def verdict(self, exit_code: int) -> tuple[Ended, str]:
        """Return why it ended, and what it had too much of. The kernel ends a process that passes a limit by a signal.

        What it wrote is measured once more now that nothing changes it.
        """
        if self._ended is not None:
            return self._ended, self._reason
        if exit_code == 0 and (excess := self._excess([])):
            return Ended.OUTPUT, excess
        signals = {128 + signal.SIGXCPU: Ended.CPU, 128 + signal.SIGXFSZ: Ended.OUTPUT}
        return signals.get(exit_code, Ended.EXITED), ""

    def check(self, on_tick: Callable[[float], None] | None) -> None:
        """Compare the tree with its limits as often as each needs it, and kill it if it passed one."""
        now = time.monotonic()
        if self._ended is not None or now < self._next_check:
            return
        self._next_check = now + QUICK_POLL
        self._first.find()
        if self._has_too_many_processes():
            self.kill(Ended.PROCESSES)
        elif now >= self._next_inspection or self._memory_goes():
            self._next_inspection = now + POLL
            self._inspect(on_tick)

    def _has_too_many_processes(self) -> bool:
        if self._group is not None:
            return self._group.was_refused_processes()
        if self._first.pid is not None:
            return self._first.holds_more_than(self._limits.processes)
        limit = self._limits.processes
        return processes.count() - self._before > limit // 2 and len(self._pids()) > limit

    def _memory_goes(self) -> bool:
        """Whether the machine has lost so much memory since the last inspection that the next is due now."""
        return self._group is None and memory.available() < self._free - self._limits.memory // 4

    def _inspect(self, on_tick: Callable[[float], None] | None) -> None:
        now = time.monotonic()
        if now >= self._deadline:
            self.kill(Ended.DEADLINE)
            return
        pids = self._pids()
        ticks = now >= self._next_tick
        held = memory.open_files(pids)
        if len(pids) > self._limits.processes:
            self.kill(Ended.PROCESSES)
        elif self._group is None and (excess := self._memory_excess(pids, held, thorough=ticks)):
            self.kill(Ended.MEMORY, excess)
        elif ticks:
            self._next_tick = now + TICK
            self._tick(pids, held, on_tick)

    def _tick(
        self,
        pids: Sequence[int],
        held: memory.Held,
        on_tick: Callable[[float], None] | None,
    ) -> None:
        if excess := self._excess(held.unlinked.values()):
            self.kill(Ended.OUTPUT, excess)
            return
        used = sum(_cpu(pid) for pid in pids) if self._group is None else self._group.cpu_seconds()
        self.cpu_seconds = max(self.cpu_seconds, used)
        if self.cpu_seconds > self._limits.cpu_seconds:
            self.kill(Ended.CPU)
        elif on_tick is not None:
            on_tick(self.cpu_seconds)

    def _memory_excess(self, pids: Sequence[int], held: memory.Held, *, thorough: bool) -> str:
        """Say what the processes have too much of; nothing if they stay within the limit."""
        limit, last, self._free = self._limits.memory, self._free, memory.available()
        if self._free < MACHINE_RESERVE and self._free_before - self._free > limit:
            return "more memory than the machine has left"
        now = time.monotonic()
        self._hidden_since = {pid: self._hidden_since.get(pid, now) for pid in held.hidden}
        if any(now - since > HIDING_GRACE for since in self._hidden_since.values()):
            return "processes that hide how much memory they have"
        thorough = thorough or self._free < last - limit // 4
        if not thorough and memory.resident(pids) + sum(held.shared.values()) <= limit:
            return ""
        memory.add_mapped(held, pids)
        private, shared = memory.proportional(pids)
        nameless = sum(held.shared.values()) + memory.memory_disks(self._first.pid)
        return "more memory than it may use" if private + max(shared, nameless) > limit else ""

    def _excess(self, unlinked: Iterable[int]) -> str:
        """Say what was written too much; nothing if it stays within the limits."""
        room = self._limits.output - sum(unlinked)
        if room < 0:
            return "open files that were removed, and take more space than it may use"
        try:
            files.measure(self._writable, size=room, files=self._limits.files)
        except files.TreeExceeded as error:
            return str(error)
        return ""

    def _pids(self) -> list[int]:
        """The program, in the sandbox with bubblewrap's two, its descendants, and those of them that lost their parents.

        No process of the second sandbox can leave the program's session.
        """
        return processes.tree(self.process.pid)


def _follow(
    tree: _Tree, on_line: Callable[[str], None] | None, on_tick: Callable[[float], None] | None
) -> str:
    """Read both pipes and watch the limits until the program has ended. Returns the end of its standard error."""
    lines, tail = _Lines(on_line), bytearray()
    gone_since: float | None = None
    with selectors.DefaultSelector() as selector:
        for pipe in (tree.process.stdout, tree.process.stderr):
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select(QUICK_POLL):
                chunk = os.read(key.fd, 65536)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif key.fileobj is tree.process.stdout:
                    lines.feed(chunk)
                else:
                    tail += chunk
                    del tail[:-STDERR_TAIL]
            tree.check(on_tick)
            if tree.process.poll() is not None:
                gone_since = gone_since or time.monotonic()
                if time.monotonic() - gone_since > PIPE_GRACE:
                    break
    _await_exit(tree, on_tick)
    lines.finish()
    return tail.decode(errors="replace")


def _await_exit(tree: _Tree, on_tick: Callable[[float], None] | None) -> None:
    """A program may close its pipes and go on; it is watched until it has ended."""
    while True:
        try:
            tree.process.wait(QUICK_POLL)
        except subprocess.TimeoutExpired:
            tree.check(on_tick)
        else:
            return


class _Lines:
    """Cuts standard output into lines of bounded length."""

    def __init__(self, on_line: Callable[[str], None] | None) -> None:
        self._on_line = on_line
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        if self._on_line is None:
            return
        *complete, self._rest = (self._rest + chunk).split(b"\n")
        self._rest = self._rest[:LINE_LIMIT]
        for line in complete:
            self._on_line(line[:LINE_LIMIT].decode(errors="replace"))

    def finish(self) -> None:
        if self._rest and self._on_line is not None:
            self._on_line(self._rest.decode(errors="replace"))


def _quietly(action: Callable[[], None]) -> None:
    """Do something to a process that may just have ended."""
    with suppress(ProcessLookupError):
        action()


def _cpu(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def adopt_orphans() -> None:
    """Let this process inherit what its programs leave behind, so that their CPU time is counted (`Outcome`).

    For a process that does nothing but run programs here: whoever adopts must also reap.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
