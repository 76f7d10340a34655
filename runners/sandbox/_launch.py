"""Restricts itself, then becomes the program: `python -I -S _launch.py NUMBERS PROGRAM [ARGUMENT ...]`.

The Landlock sandbox begins in this separate process, because the agent must not be restricted and has threads, so that no
Python code may run between its fork and the program. It imports little, since each run waits for it. NUMBERS are the
fields of `landlock.Instructions`, separated by commas. It writes its process id to the descriptor `ready` when only the
program itself can still fail.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys

NO_USER = -1
ADD_RULE = 445
RESTRICT_SELF = 446
PATH_BENEATH = 1
PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
PR_CAPBSET_DROP = 24
LAST_CAPABILITY = 63
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
SIGKILL = 9
SIGPIPE = 13
SIGXFSZ = 25
CPU_GRACE = 5
"""CPU seconds between SIGXCPU and the signal that cannot be ignored."""


class PathBeneath(ctypes.Structure):
    """`struct landlock_path_beneath_attr`."""

    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


class FilterProgram(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def main() -> None:
    """Follow the instructions. Ends with a message on standard error if one of them fails."""
    numbers, *command = sys.argv[1:]
    rules, first, second, ready, parent, user, search, cards, proc, *limits = map(int, numbers.split(","))
    # Python ignores both signals, and the program would inherit that: a closed pipe or a file that is too large would no longer end it.
    for ignored_by_python in (SIGPIPE, SIGXFSZ):
        libc.signal(ignored_by_python, None)
    # Everything that opens files or imports modules comes first: after the restriction, neither the filters nor the program may be readable.
    filters = [_content(first), _content(second)]
    program = _found(command[0])
    _limit(*limits)
    if user != NO_USER:
        for capability in range(LAST_CAPABILITY + 1):
            # Fails for capabilities that the kernel does not know.
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
        # Groups before the user: afterwards there is no privilege left to change them.
        os.setgroups([group for group in (search, cards) if group != NO_USER])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    # After the change of user, which resets it.
    _check(libc.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
    # The parent may have ended before the death signal was set, and then the kernel would never send it.
    if os.getppid() != parent:
        sys.exit(1)
    # Without this, the kernel refuses Landlock and filters to a process without privileges, and a setuid program could regain them.
    _check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    # Only now, since the rule names this process: a program may read about itself, but not about the others.
    _allow_own_proc(rules, proc)
    _check(libc.syscall(RESTRICT_SELF, rules, 0))
    os.write(ready, str(os.getpid()).encode())
    # The ruleset, the filters and the pipe are no business of the program, and descriptors are not checked by Landlock.
    os.closerange(3, 2**31 - 1)
    # Last, because the filters refuse calls that the steps before need.
    for content in filters:
        loaded = FilterProgram(len(content) // 8, content)
        _check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(loaded), 0, 0))
    os.execv(program, command)  # noqa: S606 - there is no shell


def _found(name: str) -> str:
    """Return the path of a program. `os.execvp` would search later and import modules when no file is readable."""
    if "/" in name:
        return name
    paths = [f"{directory}/{name}" for directory in os.environ.get("PATH", os.defpath).split(":")]
    return next((path for path in paths if os.access(path, os.X_OK)), name)


def _limit(memory: int, cpu: int, output: int, files: int, processes: int) -> None:
    limits = {
        resource.RLIMIT_DATA: memory,
        resource.RLIMIT_FSIZE: output,
        resource.RLIMIT_NOFILE: files,
        resource.RLIMIT_CORE: 0,
    }
    if processes:
        limits[resource.RLIMIT_NPROC] = processes
    # Hard and soft limit are equal, so that the program cannot raise one.
    for name, value in limits.items():
        resource.setrlimit(name, (value, value))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + CPU_GRACE))


def _allow_own_proc(rules: int, rights: int) -> None:
    descriptor = os.open(f"/proc/{os.getpid()}", os.O_PATH | os.O_CLOEXEC)
    rule = PathBeneath(rights, descriptor)
    _check(libc.syscall(ADD_RULE, rules, PATH_BENEATH, ctypes.byref(rule), 0))
    os.close(descriptor)


def _content(descriptor: int) -> bytes:
    with open(descriptor, "rb") as file:
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
