"""The plain summary that `aitbc-agent coordinator` prints on a terminal: one line whenever something has changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import typer

from agent.coordinator.operations.context import Context
from agent.coordinator.operations.miners import overview

LOOK_SECONDS: Final = 10.0


async def keep_saying(context: Context, stopped: asyncio.Event) -> None:
    """Print a line each time that it reads otherwise than before, until `stopped`."""
    before = ""
    while not stopped.is_set():
        line = summary(await overview(context))
        if line != before:
            typer.echo(f"{time.strftime('%H:%M:%S')}  {line}")
            before = line
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await stopped.wait()


def summary(found: Mapping[str, Any]) -> str:
    """Miners and jobs, as `GET /v1/admin/overview` answers them, in one line."""
    online = [miner for miner in found["miners"] if miner["online"]]
    paused = sum(miner["paused"] is not None for miner in online)
    miners = f"miners: {len(online)} of {len(found['miners'])} online{f', {paused} paused' if paused else ''}"
    jobs = ", ".join(f"{count} {state}" for state, count in sorted(found["jobs"].items()) if count)
    return f"{miners}; jobs: {jobs or 'none yet'}"
