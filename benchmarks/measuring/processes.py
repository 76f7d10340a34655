"""Starts the agent's processes for a benchmark and reads their processor time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

AGENT = Path(sys.executable).with_name("aitbc-agent")
START_SECONDS = 60
STOP_SECONDS = 60


@dataclass(frozen=True)
class Running:
    """A ready process of the agent; `content` is its `agent.json`."""

    process: subprocess.Popen[str]
    content: dict[str, Any]

    @property
    def url(self) -> str:
        """The URL of the agent."""
        url: str = self.content["url"]
        return url


@contextmanager
def coordinator(data_dir: Path, settings: Mapping[str, str]) -> Iterator[Running]:
    """Run a real `aitbc-agent coordinator` on a free port. `settings` are environment variables."""
    command = [str(AGENT), "coordinator", "--data-dir", str(data_dir), "--port", "0"]
    log = (data_dir.parent / f"{data_dir.name}.log").open("w")
    with (
        log,
        subprocess.Popen(
            command, env={**os.environ, **settings}, stdout=subprocess.DEVNULL, stderr=log, text=True
        ) as process,
    ):
        try:
            wait_for(data_dir / "agent.json", process)
            yield Running(process, json.loads((data_dir / "agent.json").read_text()))
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


def wait_for(path: Path, agent: subprocess.Popen[str]) -> None:
    """Wait until the agent has written its file and is ready."""
    deadline = time.monotonic() + START_SECONDS
    while not path.exists():
        if agent.poll() is not None or time.monotonic() > deadline:
            sys.exit("The agent did not start; run `aitbc-agent doctor`.")
        time.sleep(0.02)


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process so far, in user and kernel mode."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def tree_cpu_seconds(server: psutil.Process) -> float:
    """Return the processor time so far of a process and of those that it has started, also of those that have ended."""
    total = 0.0
    for process in (server, *server.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            total += cpu_seconds(process.pid)
    ended = server.cpu_times()
    return total + float(ended.children_user + ended.children_system)


def processor_seconds() -> float:
    """Return the processor time so far of this process and all those that it has started and that still run."""
    own = psutil.Process()
    return sum(cpu_seconds(process.pid) for process in (own, *own.children(recursive=True)))
