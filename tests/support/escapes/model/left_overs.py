"""Attempts to find what an earlier job, or the agent, has left behind."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from support.escapes.model.attempts import attempt, call, holds_secret
from support.escapes.model.files import packages

LITTER = "left by the job before"
KEY = 0x41495442
IPC_CREAT, IPC_RMID = 0o1000, 0
USER_KEYRING = -4
KEYCTL_SEARCH = 10
DIRECTORIES = ("/tmp", "/dev/shm", "/var/tmp", "/run", "/output", "/work", "/dev/mqueue")  # noqa: S108
NAME = "aitbc-litter"


def litter(facts: dict[str, object]) -> list[str]:
    """Create files in all directories. Returns the directories in which this succeeded."""
    ways: dict[str, Callable[[], object]] = {
        **{path: lambda path=path: Path(path, NAME).write_text(LITTER) for path in DIRECTORIES},
        "home": lambda: Path(os.environ["HOME"], NAME).write_text(LITTER),
        "environment": lambda: Path(packages(), NAME).write_text(LITTER),
        "memory": lambda: call("shmget", KEY, 64, IPC_CREAT | 0o666),
        "semaphores": lambda: call("semget", KEY, 1, IPC_CREAT | 0o666),
        "messages": lambda: call("msgget", KEY, IPC_CREAT | 0o666),
        "queue": lambda: call("mq_open", NAME.encode(), os.O_CREAT | os.O_RDWR, 0o666, 0),
        "key": lambda: call("add_key", b"user", NAME.encode(), LITTER.encode(), len(LITTER), USER_KEYRING),
    }
    left = []
    for name, way in ways.items():
        try:
            way()
        except OSError:
            continue
        left.append(name)
    return left


def _litter_in(path: str) -> str | None:
    return f"found it in {path}" if Path(path, NAME).read_text() == LITTER else None


@attempt
def find_a_file_in_the_temporary_directory(_: SimpleNamespace) -> str | None:
    return _litter_in("/tmp")  # noqa: S108


@attempt
def find_a_file_in_shared_memory(_: SimpleNamespace) -> str | None:
    return _litter_in("/dev/shm")  # noqa: S108


@attempt
def find_a_file_in_the_other_temporary_directory(_: SimpleNamespace) -> str | None:
    return _litter_in("/var/tmp")  # noqa: S108


@attempt
def find_a_file_at_home(_: SimpleNamespace) -> str | None:
    return _litter_in(os.environ["HOME"])


@attempt
def find_a_file_in_the_environment(_: SimpleNamespace) -> str | None:
    return _litter_in(packages())


@attempt
def find_a_segment_of_shared_memory(_: SimpleNamespace) -> str | None:
    return f"found segment {call('shmget', KEY, 0, 0)}"


@attempt
def find_semaphores(_: SimpleNamespace) -> str | None:
    return f"found semaphores {call('semget', KEY, 0, 0)}"


@attempt
def find_a_queue_of_messages(_: SimpleNamespace) -> str | None:
    return f"found queue {call('msgget', KEY, 0)}"


@attempt
def find_a_named_queue(_: SimpleNamespace) -> str | None:
    return f"found queue {call('mq_open', NAME.encode(), os.O_RDONLY, 0, 0)}"


@attempt
def find_a_key_of_the_job_before(_: SimpleNamespace) -> str | None:
    return f"found key {call('keyctl', KEYCTL_SEARCH, USER_KEYRING, b'user', NAME.encode(), 0)}"


@attempt
def attach_the_agents_memory(world: SimpleNamespace) -> str | None:
    """Attach a System V segment of the agent by its number."""
    address = call("shmat", world.segment, 0, 0)
    return holds_secret(ctypes.string_at(address, len(world.secret)), world)


@attempt
def read_an_inherited_descriptor(world: SimpleNamespace) -> str | None:
    for descriptor in range(256):
        try:
            if holds_secret(os.pread(descriptor, 200, 0), world):
                return f"read the secret from descriptor {descriptor}"
        except OSError:
            continue
    return None


@attempt
def find_the_agents_environment(world: SimpleNamespace) -> str | None:
    return holds_secret(repr(dict(os.environ)), world)


@attempt
def find_the_agents_environment_on_the_stack(world: SimpleNamespace) -> str | None:
    """The environment at the start of a program stays in its memory, even if its variables change."""
    return holds_secret(Path("/proc/self/environ").read_bytes(), world)
