"""Attempts to reach other processes: the agent's, and those of other jobs."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import select
import signal
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

from support.escapes.model.attempts import attempt, call, holds_secret

F_SETSIG = 10
PTRACE_SEIZE = 0x4206
CHILDREN = 300
ORPHANS_SECONDS = 30


def _victim(pid: int) -> None:
    """Raise an error if the process is hidden, since the id may belong to another process here."""
    if pid == os.getpid():
        raise ProcessLookupError(3, "the number is this process's own")


# The effect of a signal is visible only outside, so these return "sent" and the test checks.
@attempt
def signal_the_agent(world: SimpleNamespace) -> str | None:
    _victim(world.victim)
    os.kill(world.victim, signal.SIGUSR1)
    return "sent SIGUSR1"


@attempt
def signal_another_job(world: SimpleNamespace) -> str | None:
    _victim(world.neighbour_process)
    os.kill(world.neighbour_process, 0)
    return "may signal another job"


@attempt
def stop_the_agent(world: SimpleNamespace) -> str | None:
    _victim(world.victim)
    os.kill(world.victim, signal.SIGSTOP)
    return "sent SIGSTOP"


@attempt
def signal_by_descriptor(world: SimpleNamespace) -> str | None:
    _victim(world.victim)
    descriptor = os.pidfd_open(world.victim)
    call("pidfd_send_signal", descriptor, int(signal.SIGUSR1), 0, 0)
    return "sent SIGUSR1"


@attempt
def signal_as_the_owner_of_a_file(world: SimpleNamespace) -> str | None:
    """The kernel sends the signal when data arrives; the permissions of the requester must apply."""
    _victim(world.victim)
    reading, writing = os.pipe()
    fcntl.fcntl(reading, fcntl.F_SETOWN, world.victim)
    fcntl.fcntl(reading, F_SETSIG, int(signal.SIGUSR2))  # different from all other signals, to recognise it
    fcntl.fcntl(reading, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    os.write(writing, b"x")
    return "requested SIGUSR2 from the kernel"


@attempt
def trace_the_agent(world: SimpleNamespace) -> str | None:
    _victim(world.agent)
    call("ptrace", PTRACE_SEIZE, world.agent, 0, 0)
    return "attached to the agent as a debugger"


class _Range(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


@attempt
def read_memory_by_call(world: SimpleNamespace) -> str | None:
    buffer = ctypes.create_string_buffer(len(world.secret))
    ours = _Range(ctypes.addressof(buffer), len(world.secret))
    theirs = _Range(world.secret_address, len(world.secret))
    call("process_vm_readv", world.agent, ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0)
    return holds_secret(buffer.raw, world)


@attempt
def take_a_descriptor(world: SimpleNamespace) -> str | None:
    _victim(world.agent)
    descriptor = call("pidfd_getfd", os.pidfd_open(world.agent), world.secret_fd, 0)
    return holds_secret(os.pread(descriptor, 200, 0), world)


@attempt
def slow_the_agent_down(world: SimpleNamespace) -> str | None:
    _victim(world.victim)
    os.setpriority(os.PRIO_PROCESS, world.victim, 19)
    return "changed the priority of the agent's process"


@attempt
def slow_the_agents_disk_down(world: SimpleNamespace) -> str | None:
    _victim(world.victim)
    call("ioprio_set", 1, world.victim, 3 << 13)
    return "changed the disk priority of the agent's process"


@attempt
def tie_the_agent_to_one_processor(world: SimpleNamespace) -> str | None:
    _victim(world.victim)
    os.sched_setaffinity(world.victim, {min(os.sched_getaffinity(0))})
    return "changed the processors of the agent's process"


@attempt
def schedule_the_agent_as_idle(world: SimpleNamespace) -> str | None:
    _victim(world.victim)
    os.sched_setscheduler(world.victim, os.SCHED_IDLE, os.sched_param(0))
    return "changed the scheduling of the agent's process"


@attempt
def limit_the_agent(world: SimpleNamespace) -> str | None:
    _victim(world.victim)
    resource.prlimit(world.victim, resource.RLIMIT_NOFILE, (3, 3))
    return "limited the agent's process to three files"


@attempt
def choose_the_agent_for_the_killer(world: SimpleNamespace) -> str | None:
    """The kernel kills the process with the highest score when memory is short."""
    _victim(world.victim)
    Path(f"/proc/{world.victim}/oom_score_adj").write_text("1000")
    return "made the agent the first process that is killed when memory is short"


@attempt
def see_the_agents_process(world: SimpleNamespace) -> str | None:
    """Read another process's name and command line, which gives no control over it."""
    words = Path(f"/proc/{world.agent}/cmdline").read_bytes()
    return "read the agent's command line" if world.base.encode() in words else None


@attempt
def fork_without_end(world: SimpleNamespace) -> str | None:
    """Start far more processes than the sandbox's limit."""
    made = []
    try:
        for _ in range(CHILDREN):
            if (child := os.fork()) == 0:
                signal.pause()
            made.append(child)
        time.sleep(world.watched_seconds)
    finally:
        for child in made:
            os.kill(child, signal.SIGKILL)
        for child in made:
            os.waitpid(child, 0)
    return f"ran {len(made)} processes"


@attempt
def fork_orphans_without_end(world: SimpleNamespace) -> str | None:
    """Start processes whose parents have ended, which a search for descendants does not find."""
    reading, writing = os.pipe()
    for _ in range(CHILDREN):
        if (child := os.fork()) == 0:
            try:
                if os.fork() == 0:
                    os.write(writing, b"!")
                    time.sleep(ORPHANS_SECONDS)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
    time.sleep(world.watched_seconds)
    ran = 0
    while ran < CHILDREN and select.select([reading], [], [], 0.5)[0]:
        ran += len(os.read(reading, CHILDREN))
    return f"ran {ran} orphans" if ran == CHILDREN else None


@attempt
def outlive_the_run(world: SimpleNamespace) -> str | None:
    """Start an orphaned grandchild in its own session; the test searches for it by name after the run."""
    if os.fork() == 0:
        with suppress(OSError):  # otherwise the grandchild stays in the session
            os.setsid()
        try:
            if os.fork() == 0:
                os.closerange(0, 3)
                os.execv("/usr/bin/sleep", [world.survivor, "300"])  # noqa: S606 - this is the attempt
        finally:
            os._exit(0)
    time.sleep(0.05)
    return "started a grandchild"
