"""Watches one process tree: reads what it says, and kills all of it on cancellation or when it passes a limit.

The kernel's per-process limits stop a single process; this stops many of them together.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psutil

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

ORPHAN_GRACE = 2.0
"""Seconds to wait for the sandbox's first process, which ends together with bubblewrap."""

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

    `memory` (bytes) bounds each process and all together; `output` (bytes) each file and all together;
    `seconds` is wall time, `cpu_seconds` the CPU time of a process; `processes` counts threads too where the kernel
    counts, and only processes where the watch does; `files` how many it may leave in its writable directories.
    """

    memory: int
    output: int
    seconds: float
    cpu_seconds: float
    processes: int = 256
    files: int = 20_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended. `exit_code` is 128 + N after signal N.

    `cpu_seconds` are those of all its processes, exactly where this process called `adopt_orphans`, else what was seen
    while it ran.
    """

    ended: Ended
    exit_code: int
    stderr: str
    cpu_seconds: float


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
    process = subprocess.Popen(  # noqa: S603 - the command is built by a runner, never by a shell
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=directory,
        env=dict(environment),
        start_new_session=True,
        pass_fds=(*descriptors, write_end) if announce is not None else descriptors,
    )
    os.close(write_end)
    first = _FirstProcess(announced)
    tree = _Tree(process, first, limits, writable)
    try:
        if on_cancel is not None:
            on_cancel(lambda: tree.kill(Ended.CANCELLED))
        stderr = _follow(tree, on_line, on_tick)
    finally:
        tree.kill(Ended.EXITED)
        code = tree.reap()
        first.reap()
    exit_code = 128 - code if code < 0 else code
    return Outcome(
        tree.verdict(exit_code), exit_code, stderr, max(tree.cpu_seconds, _children_cpu() - before)
    )


class _FirstProcess:
    """The first process of a sandbox, as soon as bubblewrap has announced it. When it ends, the kernel ends all others."""

    def __init__(self, announced: int) -> None:
        self._pipe = os.fdopen(announced, "rb", buffering=0)
        os.set_blocking(announced, False)
        self._written = b""
        self._pid: int | None = None
        self._namespace: str | None = None
        self._before = len(_all_processes())

    def look(self) -> None:
        """Read the announcement, once it has come."""
        if self._pid is not None:
            return
        self._written += self._pipe.read(4096) or b""
        try:
            self._pid = int(json.loads(self._written)["child-pid"])
        except (ValueError, KeyError, TypeError):
            return
        self._namespace = _process_namespace(self._pid)

    def kill(self) -> None:
        """End the sandbox at once, however many processes it holds."""
        if self._pid is not None and self._is_it(self._pid):
            _quietly(lambda: os.kill(self._pid or 0, signal.SIGKILL))

    def holds_more_than(self, count: int) -> bool:
        """Whether the sandbox has more processes; quick, and exact only when the machine has as many more than before."""
        processes = _all_processes()
        if self._namespace is None or len(processes) - self._before <= count // 2:
            return False
        found = 0
        for pid in sorted(processes, reverse=True):
            found += self._is_it(pid)
            if found > count:
                return True
        return False

    def reap(self) -> None:
        """Wait for it if this process has adopted it; whoever else did will reap it."""
        self.look()
        self._pipe.close()
        if self._pid is None:
            return
        end = time.monotonic() + ORPHAN_GRACE
        with suppress(ChildProcessError):
            while os.waitpid(self._pid, os.WNOHANG) == (0, 0) and time.monotonic() < end:
                time.sleep(0.002)

    def _is_it(self, pid: int) -> bool:
        return self._namespace is not None and _process_namespace(pid) == self._namespace


def _all_processes() -> list[int]:
    with os.scandir("/proc") as entries:
        return [int(entry.name) for entry in entries if entry.name.isdecimal()]


def _process_namespace(pid: int) -> str | None:
    """The name of a process's namespace of processes, None if it has ended or is not ours to look at."""
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return None


class _Tree:
    """A program and all its descendants."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        first: _FirstProcess,
        limits: Limits,
        writable: Sequence[Path],
    ) -> None:
        self.process = process
        self._first = first
        self._limits = limits
        self._writable = writable
        self._lock = threading.Lock()
        self._deadline = time.monotonic() + limits.seconds
        self._next_tick = time.monotonic() + TICK
        self._next_glance = self._next_look = 0.0
        self._ended: Ended | None = None
        self.cpu_seconds = 0.0

    def kill(self, reason: Ended) -> None:
        """Kill every process of the tree; the first reason counts. In the sandbox its first process takes all along."""
        with self._lock:
            if self.process.returncode is not None:
                return
            if self._ended is None and reason is not Ended.EXITED:
                self._ended = reason
            self._first.look()
            self._first.kill()
            for process in self._processes():
                _quietly(process.kill)
            _quietly(lambda: os.killpg(self.process.pid, signal.SIGKILL))

    def reap(self) -> int:
        """Wait for the killed or ended program and close its pipes."""
        code = self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        return code

    def verdict(self, exit_code: int) -> Ended:
        """Why it ended, given its exit code: the kernel ends what passes a limit by a signal."""
        if self._ended is not None:
            return self._ended
        signals = {128 + signal.SIGXCPU: Ended.CPU, 128 + signal.SIGXFSZ: Ended.OUTPUT}
        return signals.get(exit_code, Ended.EXITED)

    def look(self, on_tick: Callable[[float], None] | None) -> None:
        """Compare the tree with its limits as often as each needs it, and kill it if it passed one."""
        now = time.monotonic()
        if self._ended is not None or now < self._next_glance:
            return
        self._next_glance = now + QUICK_POLL
        self._first.look()
        if self._first.holds_more_than(self._limits.processes):
            self.kill(Ended.PROCESSES)
        elif now >= self._next_look:
            self._next_look = now + POLL
            self._inspect(on_tick)

    def _inspect(self, on_tick: Callable[[float], None] | None) -> None:
        now = time.monotonic()
        if now >= self._deadline:
            self.kill(Ended.DEADLINE)
            return
        processes = self._processes()
        if len(processes) > self._limits.processes:
            self.kill(Ended.PROCESSES)
        elif _resident(processes) > self._limits.memory and _shared_once(processes) > self._limits.memory:
            self.kill(Ended.MEMORY)
        elif now >= self._next_tick:
            self._next_tick = now + TICK
            if _too_much_written(self._writable, self._limits):
                self.kill(Ended.OUTPUT)
                return
            self.cpu_seconds = max(self.cpu_seconds, sum(_cpu(process) for process in processes))
            if on_tick is not None:
                on_tick(self.cpu_seconds)

    def _processes(self) -> list[psutil.Process]:
        """The program, in the sandbox with bubblewrap's two, and its descendants."""
        try:
            first = psutil.Process(self.process.pid)
            return [first, *first.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


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
            tree.look(on_tick)
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
            tree.look(on_tick)
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
    try:
        action()
    except (ProcessLookupError, psutil.NoSuchProcess):
        return


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _resident(processes: Sequence[psutil.Process]) -> int:
    """Resident bytes, counting what processes share once for each: quick, and never too low."""
    total = 0
    for process in processes:
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total


def _shared_once(processes: Sequence[psutil.Process]) -> int:
    """Resident bytes with each process's share of what is shared: exact and slow, so asked only when it matters."""
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except psutil.AccessDenied:
            total += _resident([process])
        except psutil.Error:
            continue
    return total


def _too_much_written(directories: Sequence[Path], limits: Limits) -> bool:
    total = 0
    for count, size in enumerate(size for directory in directories for size in _sizes(directory)):
        total += size
        if total > limits.output or count >= limits.files:
            return True
    return False


def _sizes(directory: Path) -> Iterator[int]:
    """The bytes on disk of everything below a directory that a program may be changing meanwhile. Follows no link."""
    try:
        entries = os.scandir(directory)
    except OSError:
        return
    with entries:
        for entry in entries:
            try:
                yield entry.stat(follow_symlinks=False).st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    yield from _sizes(Path(entry.path))
            except OSError:
                continue


def adopt_orphans() -> None:
    """Let this process inherit what its programs leave behind, so that their CPU time is counted (`Outcome`).

    For a process that does nothing but run programs here: whoever adopts must also reap.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
