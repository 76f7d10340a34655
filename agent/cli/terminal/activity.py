"""What the agent does in one line, which `systemctl status` shows, and a coordinator on a terminal prints."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import typer

JOINING: Final = "The coordinator has not answered yet; it is tried again and again"
READY: Final = "Ready: waiting for the first job"
LOOK_SECONDS: Final = 10.0
STOPPING: Final = "Stopping: running jobs may end, what is left is handed back"


def coordinator_line(jobs: Mapping[str, int], miners: int) -> str:
    """Of a coordinator: its unfinished jobs by state, and how many miners are connected."""
    return (
        f"{_count(jobs.get('running', 0), 'job')} running, {jobs.get('submitted', 0)} waiting, "
        f"{_count(miners, 'miner')} connected"
    )


def miner_line(status: Mapping[str, Any]) -> str:
    """Of a miner, from its own status: jobs, whether it is paused, or why it has nothing to do."""
    unsent = f"; {_count(status['outbox'], 'result')} to send" if status["outbox"] else ""
    return f"{_work(status)}{unsent}"


async def keep_saying(describe: Callable[[], Awaitable[str]], stopped: asyncio.Event) -> None:
    """Print the line each time that it reads otherwise than before, until `stopped`."""
    before = ""
    while not stopped.is_set():
        line = await describe()
        if line != before:
            typer.echo(f"{time.strftime('%H:%M:%S')}  {line}")
            before = line
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await stopped.wait()


def _work(status: Mapping[str, Any]) -> str:
    running = len(status["leases"])
    working = f"{_count(running, 'job')} running"
    if status["paused"]:
        return f"{f'{working}; ' if running else ''}paused: {status['paused']}"
    if status["connection"] == "offline":
        return f"{f'{working}; ' if running else ''}the coordinator {status['coordinator']} cannot be reached"
    if running:
        return f"{working}, room for {status['slots']['free']} more"
    if not status["services"]:
        return "idle: this machine offers no service; `aitbc-agent doctor` says why"
    where = _count(len(status["gpus"]), "GPU") if status["gpus"] else "the processor"
    return f"idle, on {where}: {', '.join(status['now'])}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
