"""Locks itself in, then becomes the program: `python -I -S _launch.py NUMBERS PROGRAM [ARGUMENT ...]`.

The second sandbox begins here, because the agent's own process must not be restricted and has threads, so that nothing of
Python may run between its fork and the program. It imports little: each run waits for it. NUMBERS are integers with commas
between, in the order of `Orders`.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from typing import NamedTuple

NO_USER = -1
RESTRICT_SELF = 446
ADD_RULE = 445
PATH_BENEATH = 1
PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
CPU_GRACE = 5


class Orders(NamedTuple):
    """What to do. Descriptors: of the ruleset, of the two filters, and of the pipe that is closed when all has been done.

    `parent` is the process that must still be there; `user` is the user and group to become, or `NO_USER`, and `search` a
    further group; `proc` are the rights for this process's own part of /proc. The limits are those of `setrlimit(2)`.
    """

    ruleset: int
    first_filter: int
    second_filter: int
    parent: int
    user: int
    search: int
    proc: int
    memory: int
    cpu: int
    output: int
    files: int
    processes: int


class PathBeneath(ctypes.Structure):
    """`struct landlock_path_beneath_attr`."""

    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


class Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def main() -> None:
    """Carry out the orders. Ends with a message on standard error if one of them fails."""
    orders = Orders(*map(int, sys.argv[1].split(",")))
    command = sys.argv[2:]
    for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored_by_python, signal.SIG_DFL)
    filters = [_whole(orders.first_filter), _whole(orders.second_filter)]
    _limit(orders)
    if orders.user != NO_USER:
        os.setgroups([orders.search])
        os.setresgid(orders.user, orders.user, orders.user)
        os.setresuid(orders.user, orders.user, orders.user)
    # After the change of user, which forgets it.
    _check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    if os.getppid() != orders.parent:
        sys.exit(1)
    _check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _allow_own_proc(orders)
    _check(libc.syscall(RESTRICT_SELF, orders.ruleset, 0))
    os.closerange(3, 2**31 - 1)
    for content in filters:
        program = Program(len(content) // 8, content)
        _check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0))
    os.execvp(command[0], command)  # noqa: S606 - there is no shell


def _limit(orders: Orders) -> None:
    limits = {
        resource.RLIMIT_DATA: orders.memory,
        resource.RLIMIT_FSIZE: orders.output,
        resource.RLIMIT_NOFILE: orders.files,
        resource.RLIMIT_CORE: 0,
    }
    if orders.processes:
        limits[resource.RLIMIT_NPROC] = orders.processes
    for name, value in limits.items():
        resource.setrlimit(name, (value, value))
    resource.setrlimit(resource.RLIMIT_CPU, (orders.cpu, orders.cpu + CPU_GRACE))


def _allow_own_proc(orders: Orders) -> None:
    descriptor = os.open(f"/proc/{os.getpid()}", os.O_PATH | os.O_CLOEXEC)
    rule = PathBeneath(orders.proc, descriptor)
    _check(libc.syscall(ADD_RULE, orders.ruleset, PATH_BENEATH, ctypes.byref(rule), 0))
    os.close(descriptor)


def _whole(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def _check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"sandbox: {error}")
