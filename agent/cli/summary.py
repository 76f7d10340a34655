"""The plain summary that `aitbc-agent coordinator` prints on a terminal: one line whenever something has changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import typer

LOOK_SECONDS: Final = 10.0


async def keep_saying(describe: Callable[[], Awaitable[str]], stopped: asyncio.Event) -> None:
    """Print what `describe` says each time that it reads otherwise than before, until `stopped`."""
    before = ""
    while not stopped.is_set():
        line = await describe()
        if line != before:
            typer.echo(f"{time.strftime('%H:%M:%S')}  {line}")
            before = line
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await stopped.wait()
