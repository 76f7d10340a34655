"""The texts of commands that read many: from arguments, stdin and files."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from aitbc.cli._arguments.options import BatchOptions
from aitbc.cli._batch.inputs import find_inputs

_TEXTS = frozenset({".txt", ".md", ".rst", ".html", ".csv", ".json", ".xml"})
"""Suffixes of the files of a directory that are read."""


@dataclass(frozen=True, slots=True)
class InputText:
    """A text, and the fields that name it in the output: `text`, or `file` and perhaps `line`."""

    content: str
    fields: dict[str, Any]


def input_texts(
    texts: Sequence[str] | None, inputs: Sequence[str] | None, batch: BatchOptions, *, lines: bool
) -> Iterator[InputText]:
    """Yield the texts of arguments, of stdin for `-` or without any, and of files, each line one of its own with `lines`."""
    for text in texts or ():
        if text != "-":
            yield InputText(text, {"text": text})
    if "-" in (texts or ()) or not (texts or inputs or sys.stdin.isatty()):
        for line in sys.stdin.read().splitlines():
            if line.strip():
                yield InputText(line, {"text": line})
    for item in find_inputs(inputs or (), _TEXTS, recursive=batch.recursive):
        if item.file is None:
            raise typer.BadParameter(f"{item.label} is an address. Download the file first.")
        yield from _of_file(item.file, lines=lines)


def _of_file(path: Path, *, lines: bool) -> Iterator[InputText]:
    try:
        content = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{path} is not a text file in UTF-8.") from None
    if not lines:
        if content.strip():
            yield InputText(content, {"file": str(path)})
        return
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            yield InputText(line, {"file": str(path), "line": number, "text": line})


def chunks_of(
    entries: Sequence[InputText], most_texts: int, most_characters: int
) -> Iterator[list[InputText]]:
    """Yield the texts of each job, within the limits of one."""
    chunk: list[InputText] = []
    characters = 0
    for entry in entries:
        length = len(entry.content)
        if chunk and (len(chunk) == most_texts or characters + length > most_characters):
            yield chunk
            chunk, characters = [], 0
        chunk.append(entry)
        characters += length
    yield chunk
