"""`aitbc embed`: texts as vectors, for search and comparison by meaning."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from aitbc.canonical import sha256_hex
from aitbc.cli._arguments.default_model import default_model
from aitbc.cli._arguments.options import BatchOptions, JobOptions, client_of, model_option, with_options
from aitbc.cli._batch.journal import Journal, write_file
from aitbc.cli._batch.run import perform
from aitbc.cli._batch.texts import InputText, chunks_of, input_texts
from aitbc.cli._batch.work import BatchWork, Outcome, OutputDelivery, Writer
from aitbc.cli._terminal.exits import NoSuchResult
from aitbc.cli._terminal.output import print_status, print_text

_SERVICE = "text_embedding"
MOST_TEXTS = 512
MOST_CHARACTERS = 1_000_000
"""Of one job; more texts are more jobs."""
_SHOWN_NUMBERS, _SHOWN_CHARACTERS = 3, 40


@with_options
def embed(
    context: typer.Context,
    job: JobOptions,
    batch: BatchOptions,
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", help="Texts. Default: the lines of stdin; `-` reads them too."),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            metavar="FILE",
            help="A text file, a directory or a pattern: each file is one text. May be repeated.",
        ),
    ] = None,
    lines: Annotated[
        bool, typer.Option("--lines", help="Each line of the files of --input is a text of its own.")
    ] = False,
    model: Annotated[str | None, model_option(_SERVICE)] = None,
    dimensions: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Shorten the vectors. Default: all numbers.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The file to write. Default: stdout."),
    ] = None,
) -> None:
    """Turn texts into vectors, for search and comparison by meaning.

    Prints a JSON object for each text, in order: {"text": ..., "embedding": ...}. The scalar product of two vectors shows how similar their texts are.

    Examples:
      aitbc embed 'The weather is lovely.' 'It is sunny.'
      aitbc embed --output vectors.jsonl < sentences.txt
      aitbc embed --input notes/ --recursive --output notes.jsonl
    """
    entries = list(input_texts(texts, inputs, batch, lines=lines))
    if not entries:
        raise typer.BadParameter("There is no text. Pass texts as arguments, with --input, or on stdin.")
    journal = Journal()
    if output is not None and output.exists() and not (batch.force or journal.is_unchanged_output(output)):
        raise typer.BadParameter(f"{output} exists already. Choose another file, or pass --force.")
    options = job.body(context)
    with client_of(context) as client:
        chosen = model or default_model(client, _SERVICE)
    chunks = list(chunks_of(entries, MOST_TEXTS, MOST_CHARACTERS))
    works = [
        _work(chunk, number, len(chunks), chosen, dimensions, options, job)
        for number, chunk in enumerate(chunks, start=1)
    ]
    written: list[str] = []

    def collect(outcome: Outcome) -> None:
        chunk = chunks[[work.label for work in works].index(outcome.label)]
        for entry, vector in zip(chunk, _vectors(outcome, len(chunk)), strict=True):
            line = json.dumps({**entry.fields, "embedding": vector}, ensure_ascii=False)
            if output is not None:
                written.append(line)
            else:
                print_text(_shown(entry, vector) if sys.stdout.isatty() else line)

    perform(context, works, job=job, show=collect, batch=batch)
    if output is not None and not (job.detach or job.as_json):
        data = "".join(f"{line}\n" for line in written).encode()
        write_file(output, data)
        journal.wrote(output, works[0].key(), sha256_hex(data))
        print_status(f"wrote {len(written)} vectors to {output}")


def _work(
    chunk: Sequence[InputText],
    number: int,
    total: int,
    model: str,
    dimensions: int | None,
    options: dict[str, Any],
    job: JobOptions,
) -> BatchWork:
    part = f" ({number} of {total})" if total > 1 else ""
    body: dict[str, Any] = {"input": [entry.content for entry in chunk], "model": model}
    receipt = job.receipt
    if receipt is not None and total > 1:
        receipt = receipt / f"embedding-{number}.receipt.json"
    return BatchWork(
        label=f"{len(chunk)} text{'' if len(chunk) == 1 else 's'}{part}",
        route="text/embedding",
        body=body if dimensions is None else {**body, "dimensions": dimensions},
        options=options,
        delivery=_Vectors(),
        receipt=receipt,
    )


def _vectors(outcome: Outcome, number: int) -> list[list[float]]:
    vectors = outcome.answer.results.get("embeddings") if outcome.answer is not None else None
    if not isinstance(vectors, list) or len(vectors) != number:
        raise NoSuchResult(f"The results of job {outcome.job_id} do not have a vector for each text.")
    return vectors


def _shown(entry: InputText, vector: Sequence[float]) -> str:
    """Return a line for people, to whom hundreds of numbers mean nothing."""
    first = ", ".join(f"{number:.4f}" for number in vector[:_SHOWN_NUMBERS])
    name = " ".join(str(entry.fields.get("text") or entry.fields["file"]).split())
    if len(name) > _SHOWN_CHARACTERS:
        name = f"{name[: _SHOWN_CHARACTERS - 1]}\N{HORIZONTAL ELLIPSIS}"
    return f"{name}: {len(vector)} numbers, {first} ... (a pipe or --output gets them all)"


class _Vectors(OutputDelivery):
    """No files: the vectors are in the results."""

    async def after(self, answer: Any, writer: Writer) -> None:
        """See `OutputDelivery.after`."""
