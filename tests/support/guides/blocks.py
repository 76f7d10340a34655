"""Parses the code blocks of documents, with the notes about running them.

A note is a comment line before a block: `<!-- run by PATH -->` (that test or script runs the block, which
needs more than a shell), or `<!-- fails -->` (the block's last command ends with an error).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).parents[3]
_FENCE: Final = re.compile(
    r"^(?:<!-- (?P<note>[^\n]*?) -->\n\n?)?(?P<indent> *)```(?P<language>[a-z]*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
RUNNABLE: Final = frozenset({"bash", "console", "javascript", "python", "toml"})
"""Languages of blocks that a reader copies and runs; the others show data, output or diagrams."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. `line` is the line of its fence, counted from 1."""

    document: str
    line: int
    language: str
    text: str
    fails: bool
    run_by: str | None


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a console block, and the output that the document shows."""

    text: str
    shown: list[str] = field(default_factory=list)


def blocks_of(path: Path) -> list[Block]:
    """Return the runnable blocks of a document, in order. Raises `ValueError` for an unknown note."""
    document = path.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(document):
        if match["language"] not in RUNNABLE:
            continue
        note = match["note"] or ""
        line = document.count("\n", 0, match.start("language")) + 1
        run_by = note.removeprefix("run by ") if note.startswith("run by ") else None
        if note and run_by is None and note != "fails":
            raise ValueError(f"{path}:{line}: unknown note {note!r}; write 'run by PATH' or 'fails'")
        if match["language"] == "console" and run_by is None and not commands_of(match["text"]):
            raise ValueError(f"{path}:{line}: a console block without a line that starts with `$ `")
        text = re.sub(f"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
        name = str(path.relative_to(PROJECT))
        found.append(Block(name, line, match["language"], text, note == "fails", run_by))
    return found


def commands_of(text: str) -> list[Command]:
    """Return the commands of a console block: lines that start with `$ `, continued by lines with `> `, each with its output."""
    commands: list[Command] = []
    continued = False
    for line in text.splitlines():
        if line.startswith("$ "):
            commands.append(Command(line.removeprefix("$ ")))
            continued = True
        elif line.startswith("> ") and continued:
            commands[-1] = Command(f"{commands[-1].text}\n{line.removeprefix('> ')}")
        elif commands and line.strip():
            commands[-1].shown.append(line)
            continued = False
    return commands


def missing_lines(shown: list[str], output: str) -> list[str]:
    """Return the shown lines that the output lacks, in this order. `...` matches any text."""
    lines = iter(output.splitlines())
    missing = []
    for line in shown:
        parts = (re.escape(part.strip()) for part in line.strip().split("..."))
        pattern = re.compile(r"\s*.*".join(parts) + r"\s*$")
        if not any(pattern.match(found.strip()) for found in lines):
            missing.append(line)
    return missing
