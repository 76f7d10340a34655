"""`aitbc transcribe`: speech to text."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Annotated

import typer

from aitbc._client import AITBCClient
from aitbc.cli._output import print_json, print_text, say
from aitbc.cli._run import finish
from aitbc.cli._state import JsonOption, MaxCostOption, ReceiptOption, client_of, pricing
from aitbc.errors import TransportError
from aitbc.models import JobResults


def transcribe(
    context: typer.Context,
    audio: Annotated[
        str, typer.Argument(metavar="FILE", help="An audio or video file, a URL, or an artifact.")
    ],
    model: Annotated[str | None, typer.Option(help="The Whisper model, such as tiny.en or base.")] = None,
    language: Annotated[
        str | None, typer.Option(help="The spoken language, such as en. Default: detected.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="transcribe, or translate into English.")] = None,
    word_timestamps: Annotated[bool, typer.Option("--word-timestamps", help="Also time each word.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the text here instead of stdout."),
    ] = None,
    srt: Annotated[Path | None, typer.Option(metavar="FILE", help="Write subtitles (SubRip).")] = None,
    vtt: Annotated[Path | None, typer.Option(metavar="FILE", help="Write subtitles (WebVTT).")] = None,
    json_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the text with its segments as JSON.")
    ] = None,
    receipt: ReceiptOption = None,
    max_cost: MaxCostOption = None,
    as_json: JsonOption = False,
) -> None:
    """Transcribe speech into text or subtitles."""
    named = {"srt": srt, "vtt": vtt, "json": json_file}
    wanted = {form: path for form, path in named.items() if path is not None}
    with client_of(context) as client:
        job = client.services.transcribe(
            audio,
            model=model,
            language=language,
            task=task,
            word_timestamps=word_timestamps or None,
            output_formats=list(wanted) or None,
            pricing=pricing(max_cost),
        )
        answer = finish(client, job, receipt)
        for form, path in wanted.items():
            _fetch(client, answer, form, path)
    text = _text(answer)
    if output is not None:
        output.write_text(text + "\n", encoding="utf-8")
        say(f"wrote {output}")
    if as_json:
        print_json(answer.to_dict())
    elif output is None:
        print_text(text)


def _fetch(client: AITBCClient, answer: JobResults, form: str, path: Path) -> None:
    for file in answer.output_files():
        if PurePath(file.name).suffix == f".{form}":
            client.artifacts.download(file.artifact_id, to=path)
            say(f"wrote {path}")
            return
    raise TransportError(f"The results of job {answer.job_id} hold no {form} file.")


def _text(answer: JobResults) -> str:
    text = answer.results.get("text")
    if not isinstance(text, str):
        raise TransportError(f"The results of job {answer.job_id} hold no text.")
    return text.strip()
