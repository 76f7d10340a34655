"""Watches one process tree: reads its output, and kills it on cancellation or when it exceeds a limit.

The kernel's per-process limits stop a single process, and a control group stops a whole tree. Without a control group,
this module does.
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
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path

import psutil

from runners.sandbox import cgroups, files, memory, processes
from runners.sandbox.files import MAX_DEPTH, MAX_FILES
from runners.sandbox.processes import FirstProcess
from runners.sandbox.transcript import OnText, Transcript

STDERR_TAIL = 64 * 1024
"""Retained bytes at the end of standard error, where programs report why they failed."""

LINE_LIMIT = 64 * 1024
"""Bytes after which a line of standard output is cut."""

POLL = 0.2
"""Seconds between two inspections of the process tree, each of which reads all of /proc."""

QUICK_POLL = 0.05
"""Seconds between two counts of the processes: one that forks endlessly starts hundreds meanwhile, and the
kernel's own limit does not apply to root."""

TICK = 1.0
"""Seconds between two calls of `on_tick`, and between two measurements of the written files."""

PIPE_GRACE = 1.0
"""Seconds to read the rest of the pipes after the program ended, in case a stray process holds them open."""

MACHINE_RESERVE = 256 * 2**20
"""Available memory of the machine in bytes, below which a run is ended if more memory than its limit disappeared since its start:
such memory is not visible in its processes, for example files that are in transit through a socket."""

HIDING_GRACE = 1.0
"""Seconds for which a process may hide from inspection: one that changes its user does so until its `exec`."""

PR_SET_CHILD_SUBREAPER = 36
"""From `prctl(2)`: processes below this one whose parent ended become its children."""


def usual_processes() -> int:
    """Return how many processes and threads a program may have that computes with one thread.

    FFmpeg's filters, x265, SVT-AV1, and TBB in Blender each start a thread for every processor of the machine, however many
    the job may use.
    """
    return 256 + 4 * (os.cpu_count() or 1)


class Ended(StrEnum):
    """Why a program has ended."""

    EXITED = "exited"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    CPU = "cpu"
    MEMORY = "memory"
    PROCESSES = "processes"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one run."""

    memory: int
    """Bytes of each process, and of all together, including shared memory."""
    output: int
    """Bytes of all files together."""
    seconds: float
    """Wall time."""
    cpu_seconds: float
    """Processor time of all processes."""
    processes: int = field(default_factory=usual_processes)
    """Includes threads if the kernel counts, and only processes if the watch does."""
    files: int = MAX_FILES
    """Files and directories in the writable directories."""
    depth: int = MAX_DEPTH
    """How deep directories may be nested."""
    file: int | None = None
    """Bytes of each file; by default `output`."""
    cpus: float | None = None
    """Processors that it may keep busy, if the kernel can bound it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended."""

    ended: Ended
    exit_code: int
    """128 + N after signal N."""
    stderr: str
    """The end of its standard error."""
    cpu_seconds: float
    """Those of all its processes: exact with a control group or if this process called `adopt_orphans`, otherwise as observed while it ran."""
    reason: str = ""
    """The exceeded limit if `ended` does not name it, such as "more than 2 GiB of files"."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a program."""

    command: list[str]
    environment: Mapping[str, str]
    writable: tuple[Path, ...]
    """The directories that it may write to."""
    directory: str | None = None
    """Its current directory."""
    announce: str | None = None
    """Its flag for a file descriptor to which it writes `{"child-pid": N}`: the process that does the work and may briefly outlive it."""
    descriptors: tuple[int, ...] = ()
    """Those that it inherits, and no others."""
    complaint: str | None = None
    """The beginning of the sandbox's own errors."""


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What is called while a program runs: see `Sandbox.run`."""

    on_line: Callable[[str], None] | None = None
    on_text: OnText | None = None
    on_tick: Callable[[float], None] | None = None
    on_cancel: Callable[[Callable[[], None]], None] | None = None


def watch(launch: Launch, limits: Limits, callbacks: Callbacks) -> Outcome:
    """Run a program in its own process group until it ends or is ended."""
    earlier_cpu = _children_cpu()
    announced, write_end = os.pipe()
    command, descriptors = launch.command, launch.descriptors
    if launch.announce is not None:
        command = [command[0], launch.announce, str(write_end), *command[1:]]
        descriptors = (*descriptors, write_end)
    # A run without a group is watched by `_ProcessTree` alone.
    group = cgroups.create(memory=limits.memory, processes=limits.processes, cpus=limits.cpus)
    process = subprocess.Popen(  # noqa: S603 - the command is built by a runner, never by a shell
        command if group is None else group.entering(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=launch.directory,
        env=dict(launch.environment),
        start_new_session=True,
        pass_fds=descriptors,
    )
    # Otherwise the pipe would never end when the program does.
    os.close(write_end)
    # Landlock's rule is for this very entry of /proc, which the kernel replaces by another when memory is short and nobody has it open.
    entry = os.open(f"/proc/{process.pid}", os.O_PATH | os.O_CLOEXEC)
    tree = _ProcessTree(process, FirstProcess(announced), group, limits, launch.writable, callbacks.on_tick)
    try:
        if callbacks.on_cancel is not None:
            callbacks.on_cancel(lambda: tree.kill(Ended.CANCELLED))
        stderr = _follow(tree, callbacks)
    finally:
        tree.kill(Ended.EXITED)
        code = tree.reap()
        os.close(entry)
    exit_code = 128 - code if code < 0 else code
    ended, reason = tree.verdict(exit_code)
    return Outcome(ended, exit_code, stderr, max(tree.cpu_seconds, _children_cpu() - earlier_cpu), reason)


class _ProcessTree:
    """A program and all its descendants."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        first: FirstProcess,
        group: cgroups.Group | None,
        limits: Limits,
        writable: Sequence[Path],
        on_tick: Callable[[float], None] | None,
    ) -> None:
        self.process = process
        self._on_tick = on_tick
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
        """Kill every process of the tree; the first cause counts. In the sandbox, its first process ends all others."""
        with self._lock:
            # The id of an ended process may already be another's.
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
        """Return why it ended, and the exceeded limit. The kernel ends a process that exceeds a limit with a signal.

        Its files are measured once more, when they no longer change.
        """
        if self._ended is not None:
            return self._ended, self._reason
        if exit_code == 0 and (excess := self._excess([])):
            return Ended.OUTPUT, excess
        # Without a group, the kernel's own limits act first, and end the program with these signals.
        signals = {128 + signal.SIGXCPU: Ended.CPU, 128 + signal.SIGXFSZ: Ended.OUTPUT}
        return signals.get(exit_code, Ended.EXITED), ""

    def check(self) -> None:
        """Compare the tree with its limits, each at its own interval, and kill it if it exceeds one."""
        now = time.monotonic()
        if self._ended is not None or now < self._next_check:
            return
        self._next_check = now + QUICK_POLL
        self._first.find()
        if self._has_too_many_processes():
            self.kill(Ended.PROCESSES)
        elif now >= self._next_inspection or self._memory_shrinks():
            self._next_inspection = now + POLL
            self._inspect()

    def _has_too_many_processes(self) -> bool:
        if self._group is not None:
            return self._group.was_refused_processes()
        if self._first.pid is not None:
            return self._first.holds_more_than(self._limits.processes)
        limit = self._limits.processes
        # Counting the machine's processes is much quicker than walking through the tree.
        return processes.count() - self._before > limit // 2 and len(self._pids()) > limit

    def _memory_shrinks(self) -> bool:
        """Return whether the machine's available memory has fallen so much that an inspection is due now."""
        return self._group is None and memory.available() < self._free - self._limits.memory // 4

    def _inspect(self) -> None:
        now = time.monotonic()
        if now >= self._deadline:
            self.kill(Ended.DEADLINE)
            return
        pids = self._pids()
        ticks = now >= self._next_tick
        resources = memory.open_files(pids)
        if len(pids) > self._limits.processes:
            self.kill(Ended.PROCESSES)
        elif self._group is None and (excess := self._memory_excess(pids, resources, thorough=ticks)):
            self.kill(Ended.MEMORY, excess)
        elif ticks:
            self._next_tick = now + TICK
            self._tick(pids, resources)

    def _tick(self, pids: Sequence[int], resources: memory.Held) -> None:
        if excess := self._excess(resources.unlinked.values()):
            self.kill(Ended.OUTPUT, excess)
            return
        cpu_seconds = sum(_cpu(pid) for pid in pids) if self._group is None else self._group.cpu_seconds()
        self.cpu_seconds = max(self.cpu_seconds, cpu_seconds)
        if self.cpu_seconds > self._limits.cpu_seconds:
            self.kill(Ended.CPU)
        elif self._on_tick is not None:
            self._on_tick(self.cpu_seconds)

    def _memory_excess(self, pids: Sequence[int], resources: memory.Held, *, thorough: bool) -> str:
        """Return the exceeded limit of memory; "" if the processes are within the limits."""
        limit, last, self._free = self._limits.memory, self._free, memory.available()
        if self._free < MACHINE_RESERVE and self._free_before - self._free > limit:
            return "more memory than the machine has left"
        now = time.monotonic()
        self._hidden_since = {pid: self._hidden_since.get(pid, now) for pid in resources.hidden}
        if any(now - since > HIDING_GRACE for since in self._hidden_since.values()):
            return "processes that hide their memory"
        # The exact figure walks through all page tables, so it is taken once a second, or when memory disappears fast.
        thorough = thorough or self._free < last - limit // 4
        if not thorough and memory.rss(pids) + sum(resources.shared.values()) <= limit:
            return ""
        memory.add_mapped(resources, pids)
        private, shared = memory.proportional(pids)
        nameless = sum(resources.shared.values()) + memory.memory_disks(self._first.pid)
        return "more memory than allowed" if private + max(shared, nameless) > limit else ""

    def _excess(self, unlinked: Iterable[int]) -> str:
        """Return the exceeded limit of files; "" if they are within the limits."""
        space = self._limits.output - sum(unlinked)
        if space < 0:
            return "deleted open files that take more space than allowed"
        try:
            files.measure(self._writable, size=space, files=self._limits.files, depth=self._limits.depth)
        except files.TreeExceeded as error:
            return str(error)
        return ""

    def _pids(self) -> list[int]:
        """Return the program (in bubblewrap also its two processes), its descendants and its orphans.

        No process of the Landlock sandbox can leave the program's session.
        """
        return processes.tree(self.process.pid)


def _follow(tree: _ProcessTree, callbacks: Callbacks) -> str:
    """Read both pipes and watch the limits until the program has ended. Return the end of its standard error."""
    lines, tail = _Lines(callbacks.on_line), bytearray()
    transcript = Transcript(callbacks.on_text or (lambda *_: None))
    ended_since: float | None = None
    with selectors.DefaultSelector() as selector:
        for pipe in (tree.process.stdout, tree.process.stderr):
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select(QUICK_POLL):
                chunk = os.read(key.fd, 65536)
                if not chunk:
                    selector.unregister(key.fileobj)
                    continue
                if key.fileobj is tree.process.stdout:
                    transcript.feed("stdout", chunk)
                    lines.feed(chunk)
                else:
                    transcript.feed("stderr", chunk)
                    tail += chunk
                    # An engine states the cause of its failure at the end.
                    del tail[:-STDERR_TAIL]
            transcript.pass_on()
            tree.check()
            if tree.process.poll() is not None:
                ended_since = ended_since or time.monotonic()
                if time.monotonic() - ended_since > PIPE_GRACE:
                    break
    _await_exit(tree)
    lines.finish()
    transcript.pass_on(ended=True)
    return tail.decode(errors="replace")


def _await_exit(tree: _ProcessTree) -> None:
    """Watch a program that has closed its pipes until it has ended."""
    while True:
        try:
            tree.process.wait(QUICK_POLL)
        except subprocess.TimeoutExpired:
            tree.check()
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
    """Perform an action on a process that may already have ended."""
    with suppress(ProcessLookupError):
        action()


def _cpu(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def adopt_orphans() -> None:
    """Make this process the parent of its programs' orphans, so that their CPU time is counted (`Outcome`).

    Only for a process that runs all its programs with this module, which also reaps them.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
