"""Prints answers on stdout, and progress and complaints on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from aitbc.models import Job

_KEPT_CONTROLS = "\n\t"


def print_json(value: Any) -> None:
    """Print a JSON value, readable on a terminal, on one line elsewhere."""
    indent = 2 if sys.stdout.isatty() else None
    typer.echo(json.dumps(value, ensure_ascii=False, indent=indent))


def print_text(text: str) -> None:
    """Print text that somebody else wrote: on a terminal, control characters cannot act."""
    typer.echo(harmless(text) if sys.stdout.isatty() else text)


def harmless(text: str) -> str:
    """The text without control characters other than line ends and tabs."""
    return "".join(c if c.isprintable() or c in _KEPT_CONTROLS else "\N{REPLACEMENT CHARACTER}" for c in text)


def print_fields(fields: Mapping[str, Any]) -> None:
    """Print an object, a line for each field."""
    width = max((len(name) for name in fields), default=0)
    for name, value in fields.items():
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        print_text(f"{name:<{width}}  {shown}")


def print_rows(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: aligned on a terminal, separated by tabs elsewhere."""
    if not sys.stdout.isatty():
        for row in (titles, *rows):
            typer.echo("\t".join(row))
        return
    table = Table(*titles, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(harmless(cell) for cell in row))
    Console(markup=False, highlight=False).print(table)


def complain(message: str) -> None:
    """One line on stderr."""
    typer.echo(f"aitbc: {harmless(' '.join(message.split()))}", err=True)


def say(message: str) -> None:
    """A remark on stderr, beside the answer on stdout."""
    typer.echo(harmless(message), err=True)


@contextmanager
def progress_of(job_id: str) -> Iterator[Callable[[Job], None]]:
    """Show how a job goes: a bar on a terminal, a line for each change elsewhere."""
    if not sys.stderr.isatty():
        yield _Lines(job_id)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
    )
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(job_id, total=100)

        def show(job: Job) -> None:
            bar.update(
                task, completed=float(job.progress or 0), description=f"{job_id} {harmless(job.status)}"
            )

        yield show


class _Lines:
    """Prints a state when it differs from the one before."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self._last = ""

    def __call__(self, job: Job) -> None:
        state = job.status if job.progress is None else f"{job.status} {job.progress:g}%"
        if state != self._last:
            say(f"{self._job_id} {state}")
            self._last = state
