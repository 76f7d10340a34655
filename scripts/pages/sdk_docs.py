"""Writes the tables of calls in the READMEs of both SDKs, from their code."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Final

import generated
from aitbc import AITBCClient
from aitbc._resources import CallGroup

PYTHON: Final = generated.ROOT / "sdk" / "python" / "README.md"
JAVASCRIPT: Final = generated.ROOT / "sdk" / "js" / "README.md"
SOURCE: Final = generated.ROOT / "sdk" / "js" / "src"
BEGIN: Final = "<!-- The table is generated from the code by `make docs`. -->\n"
END: Final = "<!-- The end of the table. -->"
_GROUP: Final = re.compile(r"  /\*\* (?P<words>[^\n]*?) \*/\n  readonly (?P<name>\w+): (?P<kind>[A-Z]\w+);")
_CALL: Final = re.compile(r"^  (?:async )?(?P<name>[a-z]\w*)(?:<[^>]*>)?\($", re.MULTILINE)
_SHORT_CALL: Final = re.compile(r"^  (?:async )?(?P<name>[a-z]\w*)(?:<[^>]*>)?\([^\n]*\{$", re.MULTILINE)

Row = tuple[str, str, list[str]]
"""A group, what it is for, and its calls."""


def _python() -> Iterator[Row]:
    with AITBCClient(base_url="http://127.0.0.1:1") as client:
        groups = {name: group for name, group in vars(client).items() if isinstance(group, CallGroup)}
        for name, group in groups.items():
            yield f"client.{name}", (type(group).__doc__ or "").strip(), _public(type(group))
        own = [name for name in [*_public(type(client).__mro__[1]), "close"] if name != "base_url"]
        yield "client", "The whole: all events as they happen, the state of the coordinator, signing in.", own


def _public(kind: type) -> list[str]:
    return [
        name for name, value in vars(kind).items() if not name.startswith("_") and not isinstance(value, str)
    ]


def _javascript() -> Iterator[Row]:
    client = (SOURCE / "client.ts").read_text(encoding="utf-8")
    sources = "\n".join(path.read_text(encoding="utf-8") for path in sorted((SOURCE / "calls").glob("*.ts")))
    for group in _GROUP.finditer(client):
        yield f"client.{group['name']}", group["words"], _calls(_class(sources, group["kind"]))
    yield (
        "client",
        "The whole: all events as they happen, the state of the coordinator, signing in.",
        _calls(_class(client, "AITBCClient")),
    )


def _class(source: str, kind: str) -> str:
    """Return the text of a class. Raises `ValueError` if it does not exist."""
    begin = source.index(f"export class {kind} ")
    return source[begin : source.index("\n}\n", begin)]


def _calls(text: str) -> list[str]:
    matches = sorted((*_CALL.finditer(text), *_SHORT_CALL.finditer(text)), key=lambda match: match.start())
    return [match["name"] for match in matches if match["name"] != "constructor"]


def _with_table(readme: str, rows: Iterator[Row]) -> str:
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit("A README of an SDK has lost the comments around its table of calls.")
    cells = [("group", "calls", "what for"), ("", "", "")]
    for group, words, calls in rows:
        cells.append((f"`{group}`", " ".join(f"`{call}`" for call in calls), words))
    # Aligned, as the formatter of the JavaScript files wants it.
    widths = [max(len(row[column]) for row in cells) for column in range(3)]
    lines = [
        "| "
        + " | ".join(
            cell.ljust(width, " " if any(row) else "-") for cell, width in zip(row, widths, strict=True)
        )
        + " |"
        for row in cells
    ]
    return f"{before}{begin}\n" + "\n".join(lines) + f"\n\n{end}{after}"


def main() -> int:
    """Return the exit status."""
    return generated.publish(
        {
            PYTHON: _with_table(PYTHON.read_text(encoding="utf-8"), _python()),
            JAVASCRIPT: _with_table(JAVASCRIPT.read_text(encoding="utf-8"), _javascript()),
        }
    )


if __name__ == "__main__":
    sys.exit(main())
