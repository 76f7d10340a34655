"""The agent that serves the requests, what its log says of its faults, and what the requests cost it."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import httpx
import psutil

from campaign import checks
from runners.errors import FailureCode, Fault
from support.agents import Agent

BLAMES_MACHINE: Final = frozenset(
    str(code) for code in FailureCode if code.fault in (Fault.MACHINE, Fault.MODEL, Fault.CAPACITY)
)
SAMPLE_SECONDS: Final = 1.0
SETTINGS: Final = {
    "AITBC_LOG__FORMAT": "json",
    "AITBC_COORDINATOR__DASHBOARD": "false",
    "AITBC_COORDINATOR__LOCAL_CREDIT": "100000",
    # One account sends what thousands of clients would.
    "AITBC_COORDINATOR__CLIENT_FAILURES_TOLERATED": "1000000",
    "AITBC_COORDINATOR__RATE_LIMITS__ENABLED": "false",
    "AITBC_MINER__SLOTS": "2",
    "AITBC_RUNNERS__MODEL_DOWNLOAD": "false",
    # Small limits, so that it is cheap to reach them.
    "AITBC_RUNNERS__MAX_MEMORY": "2Gi",
    "AITBC_RUNNERS__MAX_FILE": "64Mi",
    "AITBC_RUNNERS__MAX_OUTPUT": "96Mi",
    "AITBC_RUNNERS__MAX_UNPACKED": "64Mi",
    "AITBC_RUNNERS__MAX_FILES": "2000",
}


@dataclass
class Costs:
    """Processor seconds of all of the agent's processes, and their memory in bytes."""

    processor: float = 0.0
    memory: int = 0
    agent: int = 0
    most: int = field(default=0, compare=False)
    by_service: dict[str, float] = field(default_factory=dict)
    """Processor seconds of the runners that are alive, by service."""


class Meter:
    """Samples the costs of the agent's processes every second, as a context manager."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._stop = threading.Event()
        self._most = 0
        self._thread = threading.Thread(target=self._watch, name="meter", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self.costs()

    def costs(self) -> Costs:
        """Return the costs until now."""
        with suppress(psutil.Error):
            processes = [self._process, *self._process.children(recursive=True)]
            memory = 0
            for process in processes:
                with suppress(psutil.Error):
                    memory += process.memory_info().rss
            self._most = max(self._most, memory)
            by_service = {
                _service(child): sum(map(_seconds, [child, *child.children(recursive=True)]))
                for child in self._process.children()
            }
            seconds = _seconds(self._process) + sum(by_service.values())
            return Costs(seconds, memory, self._process.memory_info().rss, self._most, by_service)
        return Costs(most=self._most)


def _seconds(process: psutil.Process) -> float:
    with suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0


def _service(runner: psutil.Process) -> str:
    words = [*runner.cmdline(), ""]
    return words[words.index("--service") + 1] if "--service" in words else words[0]


@dataclass(frozen=True)
class FailedRun:
    """A run that the miner reports as failed."""

    job_id: str
    service: str
    code: str


class Log:
    """What the agent has logged since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0

    def read(self) -> tuple[list[FailedRun], list[str]]:
        """Return the runs that blame the machine, and other signs that a request did harm."""
        with self._path.open("rb") as file:
            file.seek(self._at)
            lines = file.read()
            self._at += lines.rfind(b"\n") + 1
        blamed, harm = [], []
        for line in lines.splitlines():
            with suppress(ValueError):
                event = json.loads(line)
                name = event.get("event")
                if name == "job_failed" and event.get("code") in BLAMES_MACHINE:
                    blamed.append(FailedRun(event["job_id"], event["service"], event["code"]))
                elif (
                    name == "service_paused"
                    or event.get("level") in ("error", "critical")
                    or "exception" in event
                ):
                    harm.append(line.decode(errors="replace")[:3000])
        return blamed, harm


def failed_runs(agent: Agent) -> dict[str, Any]:
    """Return the miner's record at the coordinator: its reputation, and the runs that failed by its fault."""
    answer = httpx.get(
        f"{agent.url}/v1/miners/{agent.file['miner_id']}/stats",
        headers={"X-API-Key": agent.file["client_key"]},
        timeout=300,
    )
    stats: dict[str, Any] = answer.raise_for_status().json()
    return {name: stats[name] for name in ("reputation", "failed_runs")}


def credits_spent(agent: Agent) -> str:
    """Return what the client has paid."""
    wallet = (
        httpx.get(f"{agent.url}/v1/wallet", headers={"X-API-Key": agent.file["client_key"]}, timeout=300)
        .raise_for_status()
        .json()
    )
    return f"{100_000 - float(wallet['balance']) - float(wallet.get('held', 0)):.8f}"


def reason(agent: Agent, job_id: str) -> str:
    """Return the message with which a job's last run failed."""
    found = httpx.get(
        f"{agent.url}/v1/jobs/{job_id}", headers={"X-API-Key": agent.file["client_key"]}, timeout=300
    ).json()
    return str((found.get("error") or {}).get("message", found.get("status")))[:400]


def wait_idle(agent: Agent, seconds: float) -> bool:
    """Wait until no job is open. Returns whether that happened in time."""
    end = time.monotonic() + seconds
    while sum(number for state, number in checks.counts(agent.data_dir).items() if state not in checks.FINAL):
        if time.monotonic() > end:
            return False
        time.sleep(SAMPLE_SECONDS / 2)
    return True
