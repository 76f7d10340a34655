"""Starts, observes and kills real agents: processes of the installed command."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from agent.miner.control import ControlUnavailable, ask
from aitbc import AITBCClient

COMMAND = Path(sys.executable).with_name("aitbc-agent")
READY = "AITBC agent is ready at "
START_SECONDS = 180
STOP_SECONDS = 90


def environment_of_programs() -> dict[str, str]:
    """The environment of programs that tests start: without settings, which an older version may not have, but for the models."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AITBC_") or name == "AITBC_MODELS_DIR"
    }


class Agent:
    """One agent and its data directory; after a kill, `start` continues with the same data."""

    def __init__(self, data_dir: Path, command: str = "start", *options: str, **environment: str) -> None:
        self.data_dir = data_dir
        self.options = [command, "--data-dir", str(data_dir), *options]
        self.environment = environment
        self.prefix: list[str] = []
        """A program, with its options, that starts the agent."""
        self.program = COMMAND
        """The command `aitbc-agent`: this environment's, or that of another version."""
        self.process: subprocess.Popen[str] | None = None
        self.url = ""
        self.lines: queue.Queue[str] = queue.Queue()
        """The agent's output after the line that reports its readiness."""

    def start(self, seconds: float = START_SECONDS) -> Agent:
        """Start the agent and wait, so many seconds at most, for the line that reports its readiness."""
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, self.program, *self.options],
                env={**environment_of_programs(), **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.lines = queue.Queue()
        threading.Thread(target=_forward, args=(self.process, self.lines), daemon=True).start()
        line = self.lines.get(timeout=seconds)
        assert line.startswith(READY), f"the agent did not start: {self.log.read_text()[-2000:]}"
        self.url = line.removeprefix(READY).strip()
        return self

    @property
    def log(self) -> Path:
        return self.data_dir.with_suffix(".log")

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def file(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.data_dir / "agent.json").read_text())
        return content

    def client(self) -> AITBCClient:
        return AITBCClient(api_key=self.file["client_key"], base_url=self.url)

    def cli(
        self, *arguments: str, check: bool = True, seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run `aitbc-agent` on this data directory, at most so many seconds."""
        command = [str(self.program), *arguments, "--data-dir", str(self.data_dir)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            env={**environment_of_programs(), **self.environment},
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def status(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.cli("status", "--json").stdout)
        return value

    def memory_of(self, model: str) -> int | None:
        """Return the bytes of main memory of the processes that have loaded a model; None while none has, or while the miner is rebuilt."""
        try:
            children = asyncio.run(ask(self.data_dir, "status"))["children"]
            hosts = [psutil.Process(child["pid"]) for child in children if child["model"] == model]
            processes = [part for host in hosts for part in (host, *host.children(recursive=True))]
            return sum(part.memory_info().rss for part in processes) or None
        except (ControlUnavailable, psutil.NoSuchProcess):
            return None

    def kill(self) -> None:
        """Kill the agent, like a power failure."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def stop(self) -> int:
        """Stop the agent as an owner does. Returns the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)


def _forward(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put("")


@contextmanager
def running(*agents: Agent, seconds: float = START_SECONDS) -> Iterator[None]:
    """Start agents in order, each in so many seconds at most; end those still running in reverse order."""
    try:
        for agent in agents:
            agent.start(seconds)
        yield
    finally:
        for agent in reversed(agents):
            if agent.process is not None and agent.process.poll() is None:
                agent.stop()


def wait_for_progress(url: str, key: str, job_id: str, least: int = 1) -> None:
    """Wait until the job's event stream reports progress."""
    with httpx.stream(
        "GET", f"{url}/v1/jobs/{job_id}/events", headers={"Authorization": f"Bearer {key}"}, timeout=300
    ) as stream:
        for line in stream.iter_lines():
            if not line.startswith("data: "):
                continue
            job = json.loads(line.removeprefix("data: "))
            assert job.get("status") not in ("completed", "failed"), f"the job ended too early: {job}"
            if job.get("status") == "running" and job.get("progress", 0) >= least:
                return
    raise AssertionError("the job made no progress")
