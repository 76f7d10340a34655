"""A daemon with the scripted runner, as an object in a test, or as a separate program that a test can kill."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from agent.configuring.reading import load_settings
from agent.miner.daemon import Daemon
from agent.settings import Settings
from miner_support.runner import BatchRunner, ScriptedRunner

HOST = (sys.executable, str(Path(__file__).with_name("host.py")))


def settings_for(directory: Path, **miner: Any) -> Settings:
    return load_settings(
        flags={
            "data_dir": directory / "data",
            "models_dir": directory / "models",
            "cache_dir": directory / "cache",
            "miner": {"name": "test", **miner},
        }
    )


def make_daemon(settings: Settings, url: str, token: str | None = None) -> Daemon:
    return Daemon(
        settings, url, token, runners={"scripted": ScriptedRunner, "batch": BatchRunner}, host_command=HOST
    )


@asynccontextmanager
async def running(daemon: Daemon) -> AsyncIterator[asyncio.Task[None]]:
    """Start the daemon. On exit, stop it at once if it is still running, and raise its error."""
    async with asyncio.timeout(120):
        await daemon.start()
    task = asyncio.create_task(daemon.run())
    try:
        yield task
    finally:
        daemon.request_stop(drain=False)
        async with asyncio.timeout(120):
            await asyncio.wait([task])


async def until(condition: Callable[[], Any], limit: float = 120) -> None:
    """Wait for a state that no event reports, such as that of a process."""
    async with asyncio.timeout(limit):
        while not condition():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)


def running_children() -> set[psutil.Process]:
    """Return the processes below this one, without those of a database of other tests, which starts some at any time."""
    children = set()
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.name() != "postgres":
                children.add(process)
    return children


@asynccontextmanager
async def no_remaining_children() -> AsyncIterator[None]:
    """Check that on exit no process is left of those that were started meanwhile. Those of other tests may stay."""
    others = running_children()
    yield
    # The system may still list a process for a moment after its end was reported.
    with suppress(TimeoutError):
        await until(lambda: running_children() <= others)
    assert running_children() <= others


async def main(directory: str, url: str) -> None:
    daemon = make_daemon(settings_for(Path(directory)), url)
    await daemon.start()
    await daemon.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
