"""`aitbc transcribe`: speech to text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Annotated, Any, ClassVar

import typer

from aitbc._http.flow import present
from aitbc.answers.jobs import JobResults
from aitbc.cli._arguments.option_names import Options, Parameters
from aitbc.cli._arguments.optional_value import BESIDE, OptionalValues
from aitbc.cli._arguments.options import BatchOptions, JobOptions, model_option, with_options
from aitbc.cli._batch.inputs import SPOKEN, BatchInput, check_distinct, find_inputs
from aitbc.cli._batch.journal import Journal
from aitbc.cli._batch.run import check_directory, perform, receipt_of
from aitbc.cli._batch.work import BatchWork, Outcome, OutputDelivery, Writer
from aitbc.cli._terminal.exits import NoSuchResult
from aitbc.cli._terminal.output import print_text

TEXT = "txt"
_FORMATS = ["json", "srt", "vtt"]


class Command(OptionalValues):
    """`aitbc transcribe`, whose format options have an optional value."""

    endings: ClassVar[dict[str, tuple[str, ...]]] = {
        "--srt": (".srt",),
        "--vtt": (".vtt",),
        "--txt": (".txt",),
        "--json-file": (".json",),
    }


def _format(name: str, help_text: str) -> Any:
    return typer.Option(f"--{name}", metavar="[FILE]", help=help_text)


@dataclass(frozen=True)
class TranscriptionOptions(Parameters):
    """How the recording is transcribed."""

    model: Annotated[str | None, model_option("whisper_transcription")] = None
    language: Annotated[
        str | None,
        typer.Option("--language", "-l", help="The spoken language, such as en. Default: detected."),
    ] = None
    task: Annotated[
        str | None, typer.Option(help="transcribe, or translate into English. Default: transcribe.")
    ] = None
    word_timestamps: Annotated[
        bool | None, typer.Option("--word-timestamps", help="Add the time of each word.")
    ] = None


@dataclass(frozen=True)
class Formats(Options):
    """The formats to write. A value is a file, or `BESIDE`."""

    srt: Annotated[str | None, _format("srt", "Write subtitles (SubRip).")] = None
    vtt: Annotated[str | None, _format("vtt", "Write subtitles (WebVTT).")] = None
    txt: Annotated[str | None, _format("txt", "Write the text.")] = None
    json_file: Annotated[str | None, _format("json-file", "Write the text with its segments as JSON.")] = None

    def requested(self, inputs: Sequence[BatchInput], output: Path | None) -> dict[str, str]:
        """Return the requested formats with their values. Raises `BadParameter` if one file is named for several inputs."""
        values = present({"srt": self.srt, "vtt": self.vtt, TEXT: self.txt, "json": self.json_file})
        named = [value for value in values.values() if value != BESIDE]
        if named and len(inputs) > 1:
            raise typer.BadParameter(
                f"{named[0]} cannot hold the text of {len(inputs)} files. Omit the name to write one file for each input."
            )
        return values or ({TEXT: BESIDE} if len(inputs) > 1 or output is not None else {})


@with_options
def transcribe(
    context: typer.Context,
    audio: Annotated[
        list[str],
        typer.Argument(
            metavar="AUDIO", help="Audio or video files, directories, patterns, URLs or artifacts."
        ),
    ],
    transcription: TranscriptionOptions,
    formats: Formats,
    job: JobOptions,
    batch: BatchOptions,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Write to this directory instead of next to the inputs."
        ),
    ] = None,
) -> None:
    """Transcribe speech to text or subtitles.

    The text of a single file is printed, unless a format option writes it to a file. The texts of several files are written next to them.

    Examples:
      aitbc transcribe talk.wav
      aitbc transcribe talk.mp4 --srt --language de
      aitbc transcribe talks/ --recursive --vtt -o subtitles/
    """
    check_directory(output)
    inputs = find_inputs(audio, SPOKEN, recursive=batch.recursive, is_output=Journal().is_output)
    requested = formats.requested(inputs, output)
    files = [
        {form: Path(value) if value else item.beside(f".{form}", output) for form, value in requested.items()}
        for item in inputs
    ]
    check_distinct(
        (item.label, path) for item, paths in zip(inputs, files, strict=True) for path in paths.values()
    )
    options = job.body(context)
    works = [
        BatchWork(
            label=item.label,
            route="whisper/transcribe",
            # All formats, so that requesting another one for the same recording later needs no new job.
            body={**transcription.body, **item.address_in("audio_url"), "output_formats": _FORMATS},
            options={"name": item.name, **options},
            delivery=_Texts(paths),
            files=item.file_in("audio_url"),
            receipt=receipt_of(job.receipt, item, inputs),
        )
        for item, paths in zip(inputs, files, strict=True)
    ]
    perform(context, works, job=job, show=None if requested else _print, batch=batch)


class _Texts(OutputDelivery):
    """The text in each requested format."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files
        self.targets = tuple(files.values())

    async def after(self, answer: JobResults, writer: Writer) -> None:
        """See `OutputDelivery.after`."""
        for form, path in self._files.items():
            if form == TEXT:
                await writer.write(path, (_text(answer) + "\n").encode())
                continue
            matching_files = [
                file for file in answer.output_files() if PurePath(file.name).suffix == f".{form}"
            ]
            if not matching_files:
                raise NoSuchResult(f"The results of job {answer.job_id} have no {form} file.")
            await writer.fetch(matching_files[0].artifact_id, path)


def _print(outcome: Outcome) -> None:
    if outcome.answer is not None:
        print_text(_text(outcome.answer))


def _text(answer: JobResults) -> str:
    text = answer.results.get("text")
    if not isinstance(text, str):
        raise NoSuchResult(f"The results of job {answer.job_id} have no text.")
    return text.strip()
