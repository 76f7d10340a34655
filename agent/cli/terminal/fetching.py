"""Downloads models from the command line, with a progress bar on a terminal and plain lines otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from agent.cli.terminal import logs
from agent.core.errors import AgentError
from agent.miner.models.downloads import Downloads, OnProgress, limits
from agent.miner.models.locks import ModelDirectory, size_of
from agent.miner.models.store import ModelStore
from agent.miner.traffic import owners_traffic
from agent.settings import Settings
from aitbc.cli._terminal.output import SafeConsole
from runners.api import RunnerError

INTERRUPTED: Final = 130
"""The exit code of a program that Ctrl-C ended, by the shell's convention."""
_LINE_EVERY: Final = 10
"""Percentage points between two plain lines."""


def fetch_all(
    settings: Settings, store: ModelStore, model_directory: ModelDirectory, names: Sequence[str]
) -> list[dict[str, Any]]:
    """Download models one after the other. Raises `AgentError`; exits on Ctrl-C."""
    logs.configure_quietly(settings.log)
    downloads = Downloads(store, model_directory, limits(settings), traffic=owners_traffic(settings))
    fetched = []
    for name in names:
        try:
            was_there = store.is_complete(name)
            with shown(name) as on_progress:
                asyncio.run(downloads.fetch(name, on_progress))
        except RunnerError as error:
            raise AgentError(str(error)) from None
        except KeyboardInterrupt:
            typer.echo(f"\nStopped. Run `aitbc-agent models pull {name}` to resume the download.", err=True)
            raise typer.Exit(INTERRUPTED) from None
        path = store.location(store.entry(name))
        fetched.append({"name": name, "path": str(path), "size": size_of(path), "fetched": not was_there})
    return fetched


@contextmanager
def shown(name: str) -> Iterator[OnProgress]:
    """Show progress on standard error, so that standard output has only the result."""
    console = SafeConsole(stderr=True)
    if not console.is_terminal:
        yield _lines(name)
        return
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(name, total=None)
        yield lambda received, total: progress.update(task, completed=received, total=total)


def _lines(name: str) -> Callable[[int, int | None], None]:
    printed = -_LINE_EVERY

    def on_progress(received: int, total: int | None) -> None:
        nonlocal printed
        percent = 100 * received // total if total else 0
        if percent >= printed + _LINE_EVERY or received == total:
            printed = percent
            of = f" of {total / 2**20:.1f} MiB, {percent} %" if total else " MiB"
            typer.echo(f"{name}: {received / 2**20:.1f}{of}", err=True)

    return on_progress
