"""`aitbc rerank`: texts sorted by how relevant each is to a question."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from aitbc.cli._arguments.default_model import default_model
from aitbc.cli._arguments.options import BatchOptions, JobOptions, client_of, model_option, with_options
from aitbc.cli._batch.run import perform
from aitbc.cli._batch.texts import InputText, chunks_of, input_texts
from aitbc.cli._batch.work import BatchWork, Outcome, OutputDelivery, Writer
from aitbc.cli._terminal.exits import NoSuchResult
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
    entries = list(input_texts(texts, inputs, batch, lines=lines))
    if not entries:
        raise typer.BadParameter("There is no text. Pass texts as arguments, with --input, or on stdin.")
    options = job.body(context)
    with client_of(context) as client:
        chosen = model or default_model(client, _SERVICE)
    chunks = list(chunks_of(entries, MOST_TEXTS, MOST_CHARACTERS - len(question)))
    body: dict[str, Any] = {"query": question, "model": chosen}
    if document_tokens is not None:
        body["document_tokens"] = document_tokens
    works = [
        BatchWork(
            label=f"{len(chunk)} text{'' if len(chunk) == 1 else 's'}{f' ({number} of {len(chunks)})' if len(chunks) > 1 else ''}",
            route="text/reranking",
            body={**body, "documents": [entry.content for entry in chunk]},
            options=options,
            delivery=_Scores(),
            receipt=job.receipt
            if job.receipt is None or len(chunks) == 1
            else job.receipt / f"reranking-{number}.receipt.json",
        )
        for number, chunk in enumerate(chunks, start=1)
    ]
    scored: list[tuple[float, InputText]] = []

    def collect(outcome: Outcome) -> None:
        chunk = chunks[[work.label for work in works].index(outcome.label)]
        scored.extend(zip(_scores(outcome, len(chunk)), chunk, strict=True))

    perform(context, works, job=job, show=collect, batch=batch)
    # Jobs of one model have comparable scores.
    for score, entry in sorted(scored, key=lambda scored_entry: -scored_entry[0])[:top]:
        line = json.dumps({"score": score, **entry.fields}, ensure_ascii=False)
        print_text(_shown(score, entry) if sys.stdout.isatty() else line)


def _scores(outcome: Outcome, number: int) -> Sequence[float]:
    scores = outcome.answer.results.get("scores") if outcome.answer is not None else None
    if not isinstance(scores, list) or len(scores) != number:
        raise NoSuchResult(f"The results of job {outcome.job_id} do not have a score for each text.")
    return scores


def _shown(score: float, entry: InputText) -> str:
    words = " ".join(str(entry.fields.get("text") or entry.fields["file"]).split())
    if len(words) > _SHOWN_CHARACTERS:
        words = f"{words[: _SHOWN_CHARACTERS - 1]}\N{HORIZONTAL ELLIPSIS}"
    return f"{score:.4f}  {words}"


class _Scores(OutputDelivery):
    """No files: the scores are in the results."""

    async def after(self, answer: Any, writer: Writer) -> None:
        """See `OutputDelivery.after`."""
