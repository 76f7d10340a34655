"""`aitbc rerank`: texts sorted by how relevant each is to a question."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from aitbc._http.flow import present
from aitbc.cli._arguments.default_model import default_model
from aitbc.cli._arguments.options import BatchOptions, JobOptions, client_of, model_option, with_options
from aitbc.cli._batch.texts import InputText, TextOptions, chunks_of, perform_chunks
from aitbc.cli._terminal.output import print_text

_SERVICE = "text_reranking"
MOST_TEXTS = 1000
MOST_CHARACTERS = 1_000_000
"""Of one job, with the question; more texts are more jobs."""
_SHOWN_CHARACTERS = 100


@with_options
def rerank(
    context: typer.Context,
    job: JobOptions,
    batch: BatchOptions,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What the texts are to answer.")],
    texts: TextOptions,
    model: Annotated[str | None, model_option(_SERVICE)] = None,
    top: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Print only the N best. Default: all.")
    ] = None,
    document_tokens: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Read so many tokens of each text. Default: all of it."),
    ] = None,
) -> None:
    """Sort texts by how relevant each is to a question.

    Prints a line for each text, the best first: its score from 0 to 1 and the text, in a pipe as JSON: {"score": ..., "text": ...}.

    Examples:
      aitbc rerank 'Why does bread rise?' 'Yeast makes gas.' 'The sun is hot.'
      aitbc rerank 'When is the harbour closed?' --input notes/ --lines --top 5
    """
    entries = texts.read(batch)
    options = job.body(context)
    with client_of(context) as client:
        chosen = model or default_model(client, _SERVICE)
    fields = present({"query": question, "model": chosen, "document_tokens": document_tokens})
    scored: list[tuple[float, InputText]] = []
    perform_chunks(
        context,
        list(chunks_of(entries, MOST_TEXTS, MOST_CHARACTERS - len(question))),
        route="text/reranking",
        body=lambda contents: {**fields, "documents": contents},
        options=options,
        result=("scores", "score"),
        collect=lambda entry, score: scored.append((score, entry)),
        name="reranking",
        job=job,
        batch=batch,
    )
    # Jobs of one model have comparable scores.
    for score, entry in sorted(scored, key=lambda scored_entry: -scored_entry[0])[:top]:
        if sys.stdout.isatty():
            print_text(f"{score:.4f}  {entry.shown(_SHOWN_CHARACTERS)}")
        else:
            print_text(json.dumps({"score": score, **entry.fields}, ensure_ascii=False))
