"""`aitbc embed`: texts as vectors, for search and comparison by meaning."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from aitbc._http.flow import present
from aitbc.canonical import sha256_hex
from aitbc.cli._arguments.default_model import default_model
from aitbc.cli._arguments.options import BatchOptions, JobOptions, client_of, model_option, with_options
from aitbc.cli._batch.journal import Journal, write_file
from aitbc.cli._batch.texts import InputText, TextOptions, chunks_of, perform_chunks
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
    texts: TextOptions,
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
    entries = texts.read(batch)
    journal = Journal()
    if output is not None and output.exists() and not (batch.force or journal.is_unchanged_output(output)):
        raise typer.BadParameter(f"{output} exists already. Choose another file, or pass --force.")
    options = job.body(context)
    with client_of(context) as client:
        chosen = model or default_model(client, _SERVICE)
    written: list[str] = []

    def collect(entry: InputText, vector: list[float]) -> None:
        line = json.dumps({**entry.fields, "embedding": vector}, ensure_ascii=False)
        if output is not None:
            written.append(line)
        else:
            print_text(_shown(entry, vector) if sys.stdout.isatty() else line)

    works = perform_chunks(
        context,
        list(chunks_of(entries, MOST_TEXTS, MOST_CHARACTERS)),
        route="text/embedding",
        body=lambda contents: present({"input": contents, "model": chosen, "dimensions": dimensions}),
        options=options,
        result=("embeddings", "vector"),
        collect=collect,
        name="embedding",
        job=job,
        batch=batch,
    )
    if output is not None and not (job.detach or job.as_json):
        data = "".join(f"{line}\n" for line in written).encode()
        write_file(output, data)
        journal.wrote(output, works[0].key(), sha256_hex(data))
        print_status(f"wrote {len(written)} vectors to {output}")


def _shown(entry: InputText, vector: Sequence[float]) -> str:
    """Return a line for people, to whom hundreds of numbers mean nothing."""
    first = ", ".join(f"{number:.4f}" for number in vector[:_SHOWN_NUMBERS])
    return f"{entry.shown(_SHOWN_CHARACTERS)}: {len(vector)} numbers, {first} ... (a pipe or --output gets them all)"
