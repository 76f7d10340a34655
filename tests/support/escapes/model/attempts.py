"""Performs attempts to escape from the sandbox, each in a child process of its own, and returns their results.

An attempt is a function of the world (the facts about resources outside) that returns evidence of its success. An attempt that
returns None, raises `OSError` or is killed was refused.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace

SECONDS = 10
"""Time limit of one attempt."""

Attempt = Callable[[SimpleNamespace], "str | None"]
ATTEMPTS: dict[str, Attempt] = {}

_LIBC = ctypes.CDLL(None, use_errno=True)

# System calls without a Python function; from 424 on, the numbers are the same on all architectures.
_X86_64 = {
    "acct": 163, "add_key": 248, "bpf": 321, "fsopen": 430, "init_module": 175, "ioperm": 173, "io_uring_setup": 425,
    "kexec_load": 246, "keyctl": 250, "mount": 165, "mq_open": 240, "msgget": 68, "msgrcv": 70, "msgsnd": 69,
    "name_to_handle_at": 303, "open_by_handle_at": 304, "open_tree": 428, "perf_event_open": 298, "personality": 135,
    "pidfd_getfd": 438, "pidfd_send_signal": 424, "pivot_root": 155, "process_madvise": 440, "process_vm_readv": 310,
    "ptrace": 101, "reboot": 169, "request_key": 249, "semctl": 66, "semget": 64, "sethostname": 170,
    "settimeofday": 164, "setns": 308, "shmat": 30, "shmget": 29, "swapon": 167, "syslog": 103, "umount2": 166,
    "unshare": 272, "userfaultfd": 323, "clone3": 435, "ioprio_set": 251, "fanotify_init": 300, "msgctl": 71, "shmctl": 31,
}  # fmt: skip
_AARCH64 = {
    "acct": 89, "add_key": 217, "bpf": 280, "fsopen": 430, "init_module": 105, "io_uring_setup": 425, "kexec_load": 104,
    "keyctl": 219, "mount": 40, "mq_open": 180, "msgget": 186, "msgrcv": 188, "msgsnd": 189, "name_to_handle_at": 264,
    "open_by_handle_at": 265, "open_tree": 428, "perf_event_open": 241, "personality": 92, "pidfd_getfd": 438,
    "pidfd_send_signal": 424, "pivot_root": 41, "process_madvise": 440, "process_vm_readv": 270, "ptrace": 117,
    "reboot": 142, "request_key": 218, "semctl": 191, "semget": 190, "sethostname": 161,
    "settimeofday": 170, "setns": 268, "shmat": 196, "shmget": 194, "swapon": 224, "syslog": 116, "umount2": 39,
    "unshare": 97, "userfaultfd": 282, "clone3": 435, "ioprio_set": 30, "fanotify_init": 262, "msgctl": 187, "shmctl": 195,
}  # fmt: skip
NUMBERS = _AARCH64 if platform.machine() == "aarch64" else _X86_64


def attempt(function: Attempt) -> Attempt:
    """Register the decorated function as an attempt under its name."""
    ATTEMPTS[function.__name__] = function
    return function


def call(name: str, *arguments: object) -> int:
    """Make a system call. Raises `OSError` with the kernel's error."""
    if name not in NUMBERS:
        raise OSError(38, f"{platform.machine()} has no call {name}")
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    ctypes.set_errno(0)
    _LIBC.syscall.restype = ctypes.c_long
    answer = int(_LIBC.syscall(ctypes.c_long(NUMBERS[name]), *words))
    if answer == -1:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
    return answer


def passes_the_check(name: str, *arguments: object) -> str | None:
    """Return evidence that the kernel checked the arguments, all of them invalid, instead of refusing the call."""
    try:
        call(name, *arguments)
    except OSError as error:
        if error.errno in (1, 13, 38):  # EPERM, EACCES, ENOSYS
            raise
        return f"{name} is allowed: {error.strerror}"
    return f"{name} is allowed"


def holds_secret(text: bytes | str, world: SimpleNamespace) -> str | None:
    """Return evidence that a secret of the agent was read."""
    found = text.encode() if isinstance(text, str) else text
    return "read the secret" if world.secret.encode() in found else None


def perform(names: list[str], facts: dict[str, object]) -> dict[str, dict[str, object]]:
    """Perform these attempts. Each result has `out`, whether it succeeded, and `how`, the evidence or the refusal."""
    world = SimpleNamespace(**facts)
    return {name: _in_a_child(ATTEMPTS[name], world) for name in names}


def _in_a_child(function: Attempt, world: SimpleNamespace) -> dict[str, object]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.write(writing, json.dumps(_outcome(function, world)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answers:
        os.set_blocking(answers.fileno(), False)
        status, end = None, time.monotonic() + SECONDS
        while status is None and time.monotonic() < end:
            pid, code = os.waitpid(child, os.WNOHANG)
            status = code if pid else None
            time.sleep(0.002 if status is None else 0)
        if status is None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return {"out": False, "how": f"still trying after {SECONDS} s", "absent": False}
        written = answers.read() or b""
    if not written:
        return {"out": False, "how": f"killed, status {status}", "absent": False}
    answer: dict[str, object] = json.loads(written)
    return answer


def _outcome(function: Attempt, world: SimpleNamespace) -> dict[str, object]:
    try:
        evidence = function(world)
    except OSError as error:
        return {
            "out": False,
            "how": str(error),
            "absent": error.errno in (2, 19, 38, 97),
        }
    except Exception as error:  # noqa: BLE001 - a broken attempt must be visible
        return {
            "out": True,
            "how": f"broken attempt: {type(error).__name__}: {error} {sys.exc_info()[2].tb_next}",
        }
    return {"out": evidence is not None, "how": evidence or "found nothing", "absent": False}
