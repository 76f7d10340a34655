"""Describes the agent's activity in one line, for `systemctl status` and for a coordinator on a terminal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import typer

JOINING: Final = "Waiting for the coordinator to respond; retrying"
READY: Final = "Ready: waiting for the first job"
POLL_SECONDS: Final = 10.0
STOPPING: Final = "Stopping: waiting for running jobs, then handing back the rest"


def coordinator_line(jobs: Mapping[str, int], miners: int) -> str:
    """Describe a coordinator by its unfinished jobs and its connected miners."""
    return (
        f"{counted(jobs.get('running', 0), 'job')} running, {jobs.get('submitted', 0)} waiting, "
        f"{counted(miners, 'miner')} connected"
    )


def miner_line(status: Mapping[str, Any]) -> str:
    """Describe a miner from its status: its jobs, whether it is paused, or why it is idle."""
    unsent = f"; {counted(status['outbox'], 'unsent result')}" if status["outbox"] else ""
    return f"{_work(status)}{unsent}"


async def print_changes(describe: Callable[[], Awaitable[str]], stopped: asyncio.Event) -> None:
    """Print the line whenever it changes, until `stopped`."""
    last_line = ""
    while not stopped.is_set():
        line = await describe()
        if line != last_line:
            typer.echo(f"{time.strftime('%H:%M:%S')}  {line}")
            last_line = line
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await stopped.wait()


def _work(status: Mapping[str, Any]) -> str:
    running = len(status["leases"])
    working = f"{counted(running, 'job')} running"
    prefix = f"{working}; " if running else ""
    if status["paused"]:
        return f"{prefix}paused: {status['paused']}"
    if status["refusal"]:
        return f"{prefix}the coordinator {status['coordinator']} refuses this miner: {status['refusal']}"
    if status["connection"] == "offline":
        return f"{prefix}the coordinator {status['coordinator']} {silence(status['silent_since'])}"
    if running:
        return f"{working}, {counted(status['slots']['free'], 'free slot')}"
    if not status["services"]:
        return "idle: this machine offers no service; see `aitbc-agent doctor`"
    devices = counted(len(status["gpus"]), "GPU") if status["gpus"] else "the CPU"
    return f"idle, on {devices}: {', '.join(status['now'])}"


def silence(since: float | None) -> str:
    """Say that the coordinator does not answer, and since when, in seconds since the epoch; None: since the miner's start."""
    if since is None:
        return "cannot be reached"
    return f"has not answered since {time.strftime('%H:%M:%S', time.localtime(since))}"


def malformed(leases: Mapping[str, Any]) -> str:
    """Describe the leases that the miner did not understand."""
    moment = time.strftime("%H:%M:%S", time.localtime(leases["at"]))
    return (
        f"{counted(leases['count'], 'lease')} not understood, the last at {moment} ({leases['reason']}): "
        "update the agent (docs/how-to/operate.md#upgrade)"
    )


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, such as "2 jobs"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
