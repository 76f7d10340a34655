"""`aitbc speak`: text to speech."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from aitbc.cli._arguments.default_model import default_model
from aitbc.cli._arguments.option_names import Parameters
from aitbc.cli._arguments.options import JobOptions, client_of, model_option, with_options
from aitbc.cli._batch.names import format_of, label_of, name_of, numbered
from aitbc.cli._batch.run import perform
from aitbc.cli._batch.work import BatchWork, SingleFile

_SERVICE = "speech_synthesis"
_FORMATS = {f".{name}": name for name in ("mp3", "opus", "aac", "flac", "wav", "pcm")} | {".ogg": "opus"}
MOST_CHARACTERS = 100_000
"""Of one job."""


@dataclass(frozen=True)
class VoiceOptions(Parameters):
    """How the text is read."""

    model: Annotated[str | None, model_option(_SERVICE)] = None
    voice: Annotated[
        str | None, typer.Option("--voice", "-v", help="A voice of the model. Default: its usual one.")
    ] = None
    speed: Annotated[
        float | None, typer.Option(min=0.25, max=4, help="1 is the voice's own pace. Default: 1.")
    ] = None
    language: Annotated[
        str | None,
        typer.Option("--language", "-l", help="That of the text, such as en-gb. Default: the voice's."),
    ] = None


@with_options
def speak(
    context: typer.Context,
    voice_options: VoiceOptions,
    job: JobOptions,
    text: Annotated[
        str | None, typer.Argument(metavar="[TEXT]", help="The text. Default, and with `-`: stdin.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--input", "-i", metavar="FILE", help="A text file to read instead.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="A .mp3, .opus, .aac, .flac, .wav or .pcm file. Default: an .mp3 with a name from the text.",
        ),
    ] = None,
) -> None:
    """Have a text read aloud.

    Examples:
      aitbc speak 'The harbour is quiet tonight.' -o harbour.mp3
      aitbc speak --input chapter.txt --voice af_heart --output chapter.opus
    """
    content = _text(text, source)
    body = {
        "input": content,
        **voice_options.body,
        **format_of(output, _FORMATS, ".mp3, .opus, .aac, .flac, .wav or .pcm"),
    }
    options = job.body(context)
    if "model" not in body:
        with client_of(context) as client:
            body["model"] = default_model(client, _SERVICE)
    work = BatchWork(
        label=label_of(content),
        route="speech/synthesize",
        body=body,
        options=options,
        delivery=SingleFile(output or _free(content)),
        receipt=job.receipt,
        # No two recordings are the same, and without a name each command writes a file of its own.
        resumable=output is not None,
    )
    perform(context, [work], job=job)


def _text(text: str | None, source: Path | None) -> str:
    """Return the text to speak. Raises `BadParameter`."""
    if source is not None and text is not None:
        raise typer.BadParameter("Pass the text, or --input, not both.")
    if source is not None:
        try:
            content = source.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise typer.BadParameter(f"{source} is not a text file in UTF-8.") from None
        except OSError as error:
            raise typer.BadParameter(f"{source} cannot be read: {error.strerror}.") from None
    elif text in (None, "-"):
        content = "" if text is None and sys.stdin.isatty() else sys.stdin.read()
    else:
        content = text or ""
    if not content.strip():
        raise typer.BadParameter("There is no text. Pass it as an argument, with --input, or on stdin.")
    if len(content) > MOST_CHARACTERS:
        raise typer.BadParameter(
            f"The text has {len(content)} characters, and a job at most {MOST_CHARACTERS}. Split it, for example by chapters."
        )
    return content


def _free(text: str) -> Path:
    return next(path for path in numbered(Path(f"{name_of(text)}.mp3")) if not path.exists())
