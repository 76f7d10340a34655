"""Generates configs/seccomp.json, the profile of the agent's container, from the allowed system calls in runners/sandbox/seccomp.py."""

from __future__ import annotations

import errno
import json
import socket
import sys
from typing import Any, Final

from generated import ROOT, publish
from runners.sandbox.seccomp import ALWAYS, LOW, PERSONALITY_QUERY, WITH_NAMESPACES

AGENT: Final = frozenset(
    [
        "clone3",
        "get_thread_area",
        "io_cancel",
        "io_destroy",
        "io_getevents",
        "io_setup",
        "io_submit",
        "keyctl",
        "mknod",
        "mknodat",
        "mount",
        "move_pages",
        "name_to_handle_at",
        "pidfd_getfd",
        "pivot_root",
        "process_madvise",
        "process_mrelease",
        "process_vm_readv",
        "ptrace",
        "sched_setaffinity",
        "seccomp",
        "semctl",
        "semget",
        "semop",
        "semtimedop",
        "set_thread_area",
        "shmat",
        "shmctl",
        "shmdt",
        "shmget",
        "sync",
        "syncfs",
        "umount2",
        "unshare",
    ]
)
"""Further calls of the agent's container: for bubblewrap's mounts and namespaces, for CUDA, which shares
memory between processes, and for Python's debuggers and databases."""


def container_profile() -> dict[str, Any]:
    """Return the profile of the agent's own container, in the format of Docker, Podman and Kubernetes."""
    names = sorted({*ALWAYS, *WITH_NAMESPACES, *AGENT, "clone", "socketpair"})
    families = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)
    values = [("socket", family) for family in families] + [
        ("personality", PERSONALITY_QUERY),
        ("personality", 0),
    ]
    compared = [
        {
            "names": [name],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": LOW, "valueTwo": int(value), "op": "SCMP_CMP_MASKED_EQ"}],
        }
        for name, value in values
    ]
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": int(errno.ENOSYS),
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": []},
        ],
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}, *compared],
    }


if __name__ == "__main__":
    sys.exit(publish({ROOT / "configs" / "seccomp.json": json.dumps(container_profile(), indent=2) + "\n"}))
