"""The commands that read many texts, from arguments, stdin and files, and have something computed of each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from aitbc.cli._arguments.option_names import Options
from aitbc.cli._arguments.options import BatchOptions, JobOptions
from aitbc.cli._batch.inputs import find_inputs
from aitbc.cli._batch.run import perform
from aitbc.cli._batch.work import BatchWork, NoFiles, Outcome
from aitbc.cli._terminal.exits import NoSuchResult

_TEXTS = frozenset({".txt", ".md", ".rst", ".html", ".csv", ".json", ".xml"})
"""Suffixes of the files of a directory that are read."""


@dataclass(frozen=True, slots=True)
class InputText:
    """A text, and the fields that name it in the output: `text`, or `file` and perhaps `line`."""

    content: str
    fields: dict[str, Any]

    def shown(self, width: int) -> str:
        """Return the text, or the name of its file, on one line of at most so many characters."""
        words = " ".join(str(self.fields.get("text") or self.fields["file"]).split())
        return words if len(words) <= width else f"{words[: width - 1]}\N{HORIZONTAL ELLIPSIS}"


@dataclass(frozen=True)
class TextOptions(Options):
    """Which texts a command reads."""

    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", help="Texts. Default: the lines of stdin; `-` reads them too."),
    ] = None
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            metavar="FILE",
            help="A text file, a directory or a pattern: each file is one text. May be repeated.",
        ),
    ] = None
    lines: Annotated[
        bool, typer.Option("--lines", help="Each line of the files of --input is a text of its own.")
    ] = False

    def read(self, batch: BatchOptions) -> list[InputText]:
        """Return the texts of arguments, of stdin for `-` or without any, and of files. Raises `BadParameter` if there is none."""
        entries = list(self._entries(batch))
        if not entries:
            raise typer.BadParameter("There is no text. Pass texts as arguments, with --input, or on stdin.")
        return entries

    def _entries(self, batch: BatchOptions) -> Iterator[InputText]:
        texts = self.texts or ()
        for text in texts:
            if text != "-":
                yield InputText(text, {"text": text})
        if "-" in texts or not (texts or self.inputs or sys.stdin.isatty()):
            for line in sys.stdin.read().splitlines():
                if line.strip():
                    yield InputText(line, {"text": line})
        for item in find_inputs(self.inputs or (), _TEXTS, recursive=batch.recursive):
            if item.file is None:
                raise typer.BadParameter(f"{item.label} is an address. Download the file first.")
            yield from _of_file(item.file, lines=self.lines)


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


def perform_chunks(
    context: typer.Context,
    chunks: Sequence[Sequence[InputText]],
    *,
    route: str,
    body: Callable[[list[str]], Mapping[str, Any]],
    options: Mapping[str, Any],
    result: tuple[str, str],
    collect: Callable[[InputText, Any], None],
    name: str,
    job: JobOptions,
    batch: BatchOptions,
) -> list[BatchWork]:
    """Perform a job for each chunk, call `collect` with each text and what was computed of it, and return the works.

    `result` are the field of the results that has a value for each text, and the word for one. The receipts of several jobs are named after `name`.
    """
    works = []
    for number, chunk in enumerate(chunks, start=1):
        part = f" ({number} of {len(chunks)})" if len(chunks) > 1 else ""
        receipt = job.receipt
        if receipt is not None and part:
            receipt = receipt / f"{name}-{number}.receipt.json"
        works.append(
            BatchWork(
                label=f"{len(chunk)} text{'' if len(chunk) == 1 else 's'}{part}",
                route=route,
                body=body([entry.content for entry in chunk]),
                options=options,
                delivery=NoFiles(),
                receipt=receipt,
            )
        )

    def show(outcome: Outcome) -> None:
        chunk = chunks[[work.label for work in works].index(outcome.label)]
        values = outcome.answer.results.get(result[0]) if outcome.answer is not None else None
        if not isinstance(values, list) or len(values) != len(chunk):
            raise NoSuchResult(
                f"The results of job {outcome.job_id} do not have a {result[1]} for each text."
            )
        for entry, value in zip(chunk, values, strict=True):
            collect(entry, value)

    perform(context, works, job=job, show=show, batch=batch)
    return works
