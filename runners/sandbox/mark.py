"""The mark in the environment of all processes of a runner, with which none of them can be left behind.

The kernel ends a sandbox together with the runner's process, except while the sandbox is being set up:
bubblewrap requests it only when its namespaces exist, and its first process waits forever if its parent
was killed before. Therefore the program that starts runners also ends all processes with their mark.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from runners.sandbox.processes import end_all

VARIABLE: Final = "AITBC_RUNNER"
END_SECONDS: Final = 5.0
"""Time limit for killed processes to end."""


def of_directory(directory: Path) -> str:
    """Return the prefix of the marks of all runners of a miner with this directory. It does not reveal the path."""
    return hashlib.sha256(os.fsencode(directory.absolute())).hexdigest()[:32]


def make(directory: Path) -> str:
    """Return a mark for one runner's process."""
    return f"{of_directory(directory)}.{secrets.token_hex(8)}"


def inherited() -> dict[str, str]:
    """Return this process's mark for the environment of a program that inherits no other variable."""
    return {VARIABLE: os.environ[VARIABLE]} if VARIABLE in os.environ else {}


def end_marked(beginning: str) -> list[int]:
    """Kill every process whose mark has this prefix, and those that they start meanwhile. Return their ids. Blocking."""
    return end_all(lambda: marked(beginning), END_SECONDS)


def marked(beginning: str) -> Iterator[int]:
    """Yield the id of every other process whose mark has this prefix. Blocking."""
    prefix = os.fsencode(f"{VARIABLE}={beginning}")
    for pid in psutil.pids():
        if pid != os.getpid():
            with suppress(OSError):  # it has ended, or is another user's
                variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                if any(variable.startswith(prefix) for variable in variables):
                    yield pid
