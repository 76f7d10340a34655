"""Prints results on stdout, and status and error messages on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import IO, Any

import typer
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderableType  # noqa: TID251 - SafeConsole is one
from rich.segment import Segment

from aitbc.cli._controls import harmless, unguarded

_GAP = 2
"""Spaces between two columns."""
_FREE = 32
"""Longest text in a free column on a terminal."""


class SafeConsole(Console):
    """A console for text from outside, which it prints as it is: brackets are no markup, and `:names:` no emoji.

    Only the sequences of its own styles, bars and screens reach the terminal. Style parts of a text with `rich.text.Text`.
    """

    def __init__(self, *, stderr: bool = False, file: IO[str] | None = None, highlight: bool = False) -> None:
        # Named, because the live displays of rich replace the standard streams by ones that print here.
        stream = file or unguarded(sys.stderr if stderr else sys.stdout)
        super().__init__(file=stream, markup=False, emoji=False, highlight=highlight)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of the object, see `Console.render`."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(harmless(segment.text), segment.style)


def print_json(value: Any) -> None:
    """Print a JSON value: indented and in ASCII on a terminal, otherwise on one line."""
    on_terminal = sys.stdout.isatty()
    typer.echo(json.dumps(value, default=dict, ensure_ascii=on_terminal, indent=2 if on_terminal else None))


def print_json_line(value: Any) -> None:
    """Print a JSON value on one line, in ASCII on a terminal."""
    typer.echo(json.dumps(value, default=dict, ensure_ascii=sys.stdout.isatty()))


def print_text(text: str) -> None:
    """Print untrusted text. On a terminal, control characters are replaced."""
    typer.echo(harmless(text) if sys.stdout.isatty() else text)


def print_fields(fields: Mapping[str, Any]) -> None:
    """Print an object, one line for each field."""
    width = max((len(name) for name in fields), default=0)
    for name, value in fields.items():
        text = value if isinstance(value, str) else json.dumps(value, default=dict, ensure_ascii=False)
        print_text(f"{name:<{width}}  {text}")


def print_rows(titles: Sequence[str], rows: Iterable[Sequence[str]], *, free: Collection[str] = ()) -> None:
    """Print a table: aligned on a terminal, otherwise tab-separated and complete.

    On a terminal that is too narrow, whole columns are left out, from the last one, and named on stderr. Only cells of `free` columns, which
    hold text of any length such as names, are shortened.
    """
    lines = [tuple(titles), *(tuple(row) for row in rows)]
    if not sys.stdout.isatty():
        for line in lines:
            # For `cut` and `awk`, to which a tab or a line end within a cell would be another column or row.
            typer.echo("\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in line))
        return
    lines = [tuple(_one_line(cell) for cell in line) for line in lines]
    for column in (position for position, title in enumerate(titles) if title in free):
        lines = [(*line[:column], _shortened(line[column]), *line[column + 1 :]) for line in lines]
    # In columns of the terminal: Chinese characters take two.
    widths = [max(cell_len(line[column]) for line in lines) for column in range(len(titles))]
    columns = _fitting(widths, SafeConsole().width)
    for line in lines:
        cells = (line[column] + " " * (widths[column] - cell_len(line[column]) + _GAP) for column in columns)
        typer.echo("".join(cells).rstrip())
    if omitted := [title for column, title in enumerate(titles) if column not in columns]:
        text = f"Left out, because the terminal is too narrow: {', '.join(omitted)}. `| cat` and --json show all columns."
        _wrapped(text)


def _fitting(widths: Sequence[int], available: int) -> list[int]:
    """Return the columns that fit, the first one always."""
    columns: list[int] = []
    width_used = 0
    for column, width in enumerate(widths):
        if not columns or width_used + width <= available:
            columns.append(column)
            width_used += width + _GAP
    return columns


def _one_line(text: str) -> str:
    return harmless(" ".join(text.split()))


def _shortened(text: str) -> str:
    return (
        text
        if cell_len(text) <= _FREE
        else set_cell_size(text, _FREE - 1).rstrip() + "\N{HORIZONTAL ELLIPSIS}"
    )


def service_name(job_type: str | None) -> str:
    """Return a job's type in the one spelling of the output, with underscores."""
    return (job_type or "").replace("-", "_")


def moment(time: str | None) -> str:
    """Return an RFC 3339 time: on a terminal how long ago it was, otherwise unchanged."""
    if not time or not sys.stdout.isatty():
        return time or ""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{max(0, int(seconds))} s ago"


def encoded(value: Any) -> bytes:
    """Return a JSON value as the content of a file."""
    return (json.dumps(value, default=dict, ensure_ascii=False, indent=1) + "\n").encode()


def print_error(message: str) -> None:
    """Print an error on stderr: one paragraph for each of its lines, wrapped between words on a terminal."""
    for number, line in enumerate(message.strip().splitlines()):
        text = harmless(f"  {line.rstrip()}" if number else f"aitbc: {' '.join(line.split())}")
        _wrapped(text)


def _wrapped(text: str) -> None:
    """Print a line on stderr, wrapped between words on a terminal."""
    if sys.stderr.isatty():
        SafeConsole(stderr=True).print(text)
    else:
        typer.echo(text, err=True)


def print_status(message: str) -> None:
    """Print a status message on stderr, so that stdout has only results."""
    typer.echo(harmless(message), err=True)
