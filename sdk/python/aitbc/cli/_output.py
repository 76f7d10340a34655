"""Prints results on stdout, and status and error messages on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import typer
from rich.cells import cell_len
from rich.console import Console

_ALLOWED_CONTROLS = "\n\t"
_GAP = 2
"""Spaces between two columns."""


def print_json(value: Any) -> None:
    """Print a JSON value: indented on a terminal, otherwise on one line."""
    indent = 2 if sys.stdout.isatty() else None
    typer.echo(json.dumps(value, ensure_ascii=False, indent=indent))


def print_text(text: str) -> None:
    """Print untrusted text. On a terminal, control characters are replaced."""
    typer.echo(harmless(text) if sys.stdout.isatty() else text)


def harmless(text: str) -> str:
    """Return the text with its control characters replaced, except line ends and tabs."""
    return "".join(
        c if c.isprintable() or c in _ALLOWED_CONTROLS else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def print_fields(fields: Mapping[str, Any]) -> None:
    """Print an object, one line for each field."""
    width = max((len(name) for name in fields), default=0)
    for name, value in fields.items():
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        print_text(f"{name:<{width}}  {shown}")


def print_rows(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: aligned on a terminal, otherwise tab-separated.

    No cell is ever cut. The last columns are omitted if the terminal is too narrow for them, and named on stderr.
    """
    lines = [tuple(titles), *(tuple(row) for row in rows)]
    if not sys.stdout.isatty():
        for line in lines:
            typer.echo("\t".join(line))
        return
    lines = [tuple(map(harmless, line)) for line in lines]
    widths = [max(cell_len(line[column]) for line in lines) + _GAP for column in range(len(titles))]
    available = Console().width + _GAP
    shown = sum(total <= available for total in accumulate(widths)) or 1
    for line in lines:
        cells = (
            cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths[:shown], strict=False)
        )
        typer.echo("".join(cells).rstrip())
    if omitted := titles[shown:]:
        print_status(f"The terminal is too narrow for {', '.join(omitted)}; --json prints all columns.")


def encoded(value: Any) -> bytes:
    """Return a JSON value as the content of a file."""
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


def print_error(message: str) -> None:
    """Print an error on stderr as one paragraph, wrapped between words on a terminal."""
    text = f"aitbc: {harmless(' '.join(message.split()))}"
    if sys.stderr.isatty():
        Console(stderr=True, markup=False, highlight=False, emoji=False).print(text)
    else:
        typer.echo(text, err=True)


def print_status(message: str) -> None:
    """Print a status message on stderr, so that stdout has only results."""
    typer.echo(harmless(message), err=True)
