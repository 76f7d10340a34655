"""Prints results on stdout, and status and error messages on stderr."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import IO, Any

import typer
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderableType  # noqa: TID251 - SafeConsole is one
from rich.filesize import decimal
from rich.segment import Segment
from rich.text import Text

from aitbc.cli._controls import harmless, unguarded
from aitbc.figures import amounts

_GAP = 2
"""Spaces between two columns."""
_MINUTE, _PRECISE = 60, 10
"""Seconds; below the second, tenths count."""
_SHORT_ARTIFACT = len("sha256:") + 8
_SHORT_ID = 8
"""Characters of an id that distinguish what one network has; commands accept them."""
_NARROWEST = 20
"""Columns of a wrapped text, or of a last column, at least."""
_FREE = 32
"""Longest text in a free column on a terminal, unless it is the last one."""


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


def print_verdict(text: str, *, good: bool) -> None:
    """Print a verdict: on a terminal in green or red, unless NO_COLOR is set."""
    if sys.stdout.isatty():
        SafeConsole().print(Text(text, style="green" if good else "bold red"), soft_wrap=True)
    else:
        typer.echo(text)


def print_indented(heading: str, text: str) -> None:
    """Print a text behind a heading. On a terminal it is wrapped between words, below its beginning."""
    if not sys.stdout.isatty():
        typer.echo((heading + text).rstrip())
        return
    width = max(SafeConsole().width, len(heading) + _NARROWEST)
    below = " " * len(heading)
    typer.echo(textwrap.fill(harmless(text), width, initial_indent=heading, subsequent_indent=below))


def print_fields(fields: Mapping[str, Any]) -> None:
    """Print an object, one line for each field."""
    print_pairs(list(fields.items()))


def print_pairs(pairs: Sequence[tuple[str, Any]]) -> None:
    """Print names with their values, aligned. The same name may occur again; further lines of a value stand below the first."""
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        text = value if isinstance(value, str) else json.dumps(value, default=dict, ensure_ascii=False)
        for number, line in enumerate(text.splitlines() or [""]):
            heading = f"{'' if number else name:<{width}}  "
            # Indented lines are those of programs, which are broken wherever the terminal ends.
            print_text(heading + line) if line[:1].isspace() else print_indented(heading, line)


def print_rows(
    titles: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    free: Collection[str] = (),
    for_people: Collection[str] = (),
    piped: Collection[str] = (),
) -> None:
    """Print a table: aligned on a terminal, otherwise tab-separated and complete.

    On a terminal that is too narrow, whole columns are left out, from the last one, and named on stderr. Only cells of `free` columns, which
    hold text of any length such as names, are shortened; the last column, if it is free, takes the width that is left. Columns in
    `for_people` are for people, and only on a terminal; those in `piped` are for programs.
    """
    lines = [tuple(titles), *(tuple(row) for row in rows)]
    on_terminal = sys.stdout.isatty()
    omitted_here = piped if on_terminal else for_people
    positions = [position for position, title in enumerate(titles) if title not in omitted_here]
    if on_terminal and len(lines) > 1:
        # A column in which no row has anything only takes the width of the others.
        positions = [position for position in positions if any(line[position] for line in lines[1:])]
    lines = [tuple(line[position] for position in positions) for line in lines]
    if not on_terminal:
        for line in lines:
            # For `cut` and `awk`, to which a tab or a line end within a cell would be another column or row.
            typer.echo("\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in line))
        return
    _print_aligned([tuple(_one_line(cell) for cell in line) for line in lines], free)


def _print_aligned(lines: Sequence[tuple[str, ...]], free: Collection[str]) -> None:
    titles, available = lines[0], SafeConsole().width
    last = len(titles) - 1
    # In columns of the terminal: Chinese characters take two.
    width_of = [_FREE if title in free else available for title in titles]
    fixed = [min(width_of[column], max(cell_len(line[column]) for line in lines)) for column in range(last)]
    if titles[last] in free:
        width_of[last] = max(_NARROWEST, available - sum(fixed) - _GAP * last)
    lines = [
        tuple(_shortened(cell, width) for cell, width in zip(line, width_of, strict=True)) for line in lines
    ]
    widths = [max(cell_len(line[column]) for line in lines) for column in range(len(titles))]
    columns = _fitting(widths, available)
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


def _shortened(text: str, width: int) -> str:
    return (
        text
        if cell_len(text) <= width
        else set_cell_size(text, width - 1).rstrip() + "\N{HORIZONTAL ELLIPSIS}"
    )


def service_name(job_type: str | None) -> str:
    """Return a job's type in the one spelling of the output, with underscores."""
    return (job_type or "").replace("-", "_")


def short_id(complete: str) -> str:
    """Return an id: on a terminal the part that people read out and type, otherwise all of it."""
    return complete.partition("_")[2][:_SHORT_ID] if sys.stdout.isatty() else complete


def short_artifact(artifact_id: str) -> str:
    """Return an artifact's id: on a terminal its beginning, which commands accept, otherwise all of it."""
    return artifact_id[:_SHORT_ARTIFACT] if sys.stdout.isatty() else artifact_id


def credits_text(value: str) -> str:
    """Return an amount with its currency: rounded on a terminal, otherwise with all digits."""
    return amounts.in_credits(value) if sys.stdout.isatty() else amounts.with_currency(value)


def amount_cell(value: str | None) -> str:
    """Return an amount for a column whose title names the currency: rounded on a terminal, otherwise with all digits; empty for None."""
    return amounts.amount(value) if value and sys.stdout.isatty() else value or ""


def size_text(size: int) -> str:
    """Return bytes: on a terminal as people read them, otherwise as a number with its unit."""
    return decimal(size) if sys.stdout.isatty() else f"{size} bytes"


def duration_text(seconds: float) -> str:
    """Return a duration: "0.4 s", "12 s", "3 min 5 s", "2 h 10 min"."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s" if seconds < _PRECISE else f"{seconds:.0f} s"
    minutes, seconds_left = divmod(round(seconds), _MINUTE)
    hours, minutes_left = divmod(minutes, _MINUTE)
    return f"{hours} h {minutes_left} min" if hours else f"{minutes} min {seconds_left} s"


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


def print_next_page(last: int, total: int, noun: str) -> None:
    """Print how to see the next page of a list, if there is one. `last` is the number of the last entry of this page."""
    if last < total:
        print_status(f"{last} of {total} {noun} shown; --offset {last} shows the next ones.")
