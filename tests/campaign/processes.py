"""The agents of a campaign: starts, stops and kills them, and writes their fault plans."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

PROGRAM = Path(__file__).with_name("program.py")
LIMIT_SECONDS = 90.0
PAUSE_SECONDS = 0.01
_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER."""


class CampaignError(Exception):
    """An expected event did not happen."""


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose parent has ended."""
    if ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER")


class AgentProcess:
    """One agent through all its restarts. `environment` is its whole environment; `arguments` follow the command's name."""

    def __init__(self, folder: Path, arguments: list[str], environment: Mapping[str, str]) -> None:
        self.name = folder.name
        self.data_dir = folder
        self.arguments = [*arguments, "--data-dir", str(folder)]
        self.log = folder.with_name(f"{folder.name}.log")
        self.plan_file = folder.with_name(f"{folder.name}.plan")
        self.done_file = folder.with_name(f"{folder.name}.plan.done")
        self.temporary = folder.with_name(f"{folder.name}.tmp")
        self.temporary.mkdir()
        self.pid = 0
        self.lives = 0
        self._environment = {
            **environment,
            "AITBC_FAULT_POINTS": str(self.plan_file),
            "TMPDIR": str(self.temporary),
        }
        self._starter = subprocess.Popen(
            [sys.executable, str(PROGRAM)],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def starter_pid(self) -> int:
        return self._starter.pid

    @property
    def file(self) -> dict[str, Any]:
        """The content of the agent's file; empty before it is ready."""
        try:
            content: dict[str, Any] = json.loads((self.data_dir / "agent.json").read_text())
        except (OSError, ValueError):
            return {}
        return content

    def start(self, *, wait: bool = True) -> None:
        """Start the agent again."""
        assert self._starter.stdin is not None
        assert self._starter.stdout is not None
        request = {"arguments": self.arguments, "environment": self._environment, "log": str(self.log)}
        self._starter.stdin.write(f"{json.dumps(request)}\n")
        self._starter.stdin.flush()
        self.pid = int(self._starter.stdout.readline())
        self.lives += 1
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until the agent is ready. Raises `CampaignError` if it ends first."""
        end = time.monotonic() + LIMIT_SECONDS
        while self.file.get("pid") != self.pid:
            if self.has_ended():
                raise CampaignError(f"{self.name} ended while it started: {self.last_words()}")
            if time.monotonic() > end:
                raise CampaignError(f"{self.name} did not become ready: {self.last_words()}")
            time.sleep(PAUSE_SECONDS)

    def last_words(self) -> str:
        with suppress(OSError):
            return self.log.read_text(errors="replace")[-1500:]
        return "no log"

    def has_ended(self) -> bool:
        """Return whether the process has ended."""
        if self.pid:
            with suppress(ChildProcessError):
                if os.waitpid(self.pid, os.WNOHANG) == (0, 0):
                    return False
            self.pid = 0
        return True

    def wait_end(self, seconds: float) -> bool:
        """Wait for the process to end. Returns whether it has."""
        end = time.monotonic() + seconds
        while not self.has_ended():
            if time.monotonic() > end:
                return False
            time.sleep(PAUSE_SECONDS)
        return True

    def signal(self, number: int) -> None:
        """Send a signal if the process is alive."""
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process, like a power failure."""
        self.signal(signal.SIGKILL)
        self.wait_end(LIMIT_SECONDS)

    def stop(self) -> None:
        """Stop the process as an owner does. Raises `CampaignError` if it does not end."""
        self.signal(signal.SIGTERM)
        if not self.wait_end(LIMIT_SECONDS):
            raise CampaignError(f"{self.name} did not stop")

    def is_stopped(self) -> bool:
        """Return whether a SIGSTOP has stopped the process."""
        with suppress(psutil.NoSuchProcess):
            return bool(self.pid) and psutil.Process(self.pid).status() == psutil.STATUS_STOPPED
        return False

    def children(self) -> list[psutil.Process]:
        """Return its living descendants."""
        with suppress(psutil.NoSuchProcess):
            if self.pid:
                return psutil.Process(self.pid).children(recursive=True)
        return []

    def plan(self, *lines: str) -> None:
        """Replace the fault plan atomically."""
        temporary = self.plan_file.with_suffix(".new")
        temporary.write_text("".join(f"{line}\n" for line in lines))
        temporary.replace(self.plan_file)

    def done(self) -> list[str]:
        """Return the faults that have occurred so far."""
        with suppress(OSError):
            return self.done_file.read_text().splitlines()
        return []

    def close(self) -> None:
        """End the agent and the process that starts it."""
        self.signal(signal.SIGCONT)
        self.kill()
        self._starter.stdin.close() if self._starter.stdin else None
        self._starter.kill()
        self._starter.wait()


def strays(known: set[int]) -> list[psutil.Process]:
    """Return living orphans that this process has adopted and does not know; dead ones are reaped."""
    found = []
    for child in psutil.Process().children():
        if child.pid in known:
            continue
        with suppress(psutil.NoSuchProcess, ChildProcessError):
            if os.waitpid(child.pid, os.WNOHANG) == (0, 0):
                found.append(child)
    return found
