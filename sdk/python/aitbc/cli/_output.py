"""Prints results on stdout, and status and error messages on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

_ALLOWED_CONTROLS = "\n\t"
_SHORT = 10
"""Characters."""


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
    """Print a table: aligned on a terminal, otherwise tab-separated. Ids (the first column) and short columns are never cut."""
    cells = [tuple(row) for row in rows]
    if not sys.stdout.isatty():
        for row in (tuple(titles), *cells):
            typer.echo("\t".join(row))
        return
    table = Table(box=None, pad_edge=False)
    for position, title in enumerate(titles):
        longest = max(len(row[position]) for row in (tuple(titles), *cells))
        whole = position == 0 or longest <= _SHORT
        table.add_column(title, no_wrap=True, min_width=longest if whole else None)
    for row in cells:
        table.add_row(*(harmless(cell) for cell in row))
    Console(markup=False, highlight=False, emoji=False).print(table)


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
