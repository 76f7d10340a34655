"""`aitbc transcode`: convert media files to other formats."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from aitbc.cli._arguments.option_names import Parameters
from aitbc.cli._arguments.options import BatchOptions, JobOptions, with_options
from aitbc.cli._batch.inputs import MEDIA, BatchInput, check_distinct, find_inputs
from aitbc.cli._batch.journal import Journal
from aitbc.cli._batch.run import check_directory, perform, receipt_of
from aitbc.cli._batch.work import BatchWork, SingleFile

_PAIR = 2
_UNITS = (1, 60, 3600)
_NUMBER = re.compile(r"\d+(\.\d+)?")


def _seconds(text: str) -> float:
    """Return the seconds in "90", "1:30" or "1:02:03.5". Raises `BadParameter`."""
    parts = text.split(":")
    if len(parts) > len(_UNITS) or not all(_NUMBER.fullmatch(part) for part in parts):
        raise typer.BadParameter(
            f"{text!r} is not a time. Write seconds, or minutes and seconds, such as 1:30."
        )
    return sum(float(part) * _UNITS[position] for position, part in enumerate(reversed(parts)))


def _time(help_text: str) -> Any:
    return typer.Option(parser=_seconds, metavar="TIME", help=help_text)


@dataclass(frozen=True)
class Encoding(Parameters):
    """How the output is encoded."""

    codec: Annotated[
        str | None,
        typer.Option(
            help='The video codec, such as h264 or vp9; "copy" keeps the stream unchanged. Default: the format\'s usual one.'
        ),
    ] = None
    resolution: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="The size, such as 1280x720 or 720p. Default: unchanged."),
    ] = None
    fit: Annotated[
        str | None,
        typer.Option(
            help="How to fit a frame of another aspect ratio into that size: pad, contain or stretch. Default: pad."
        ),
    ] = None
    fps: Annotated[float | None, typer.Option(help="Frames per second. Default: unchanged.")] = None
    quality: Annotated[
        int | None, typer.Option(help="The quality: 0 is best, 51 smallest (with av1 and vp9 63).")
    ] = None
    bitrate: Annotated[str | None, typer.Option(help="The video bitrate, such as 2500k.")] = None
    audio_codec: Annotated[
        str | None,
        typer.Option(help="The audio codec, or copy (unchanged) or none. Default: the format's usual one."),
    ] = None
    audio_bitrate: Annotated[str | None, typer.Option(help="The audio bitrate, such as 128k.")] = None
    start: Annotated[
        float | None, _time("Where in the input to start, in seconds or as 1:30. Default: 0.")
    ] = None
    duration: Annotated[
        float | None, _time("The length of the output, in seconds or as 1:30. Default: to the end.")
    ] = None


@with_options
def transcode(
    context: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="IN OUT",
            help="A media file, URL or artifact, and the file to write, whose suffix determines the format. "
            "With --format: any number of files, directories and patterns.",
        ),
    ],
    encoding: Encoding,
    job: JobOptions,
    batch: BatchOptions,
    output_format: Annotated[
        str | None,
        typer.Option("--format", "-f", help="The output format for several files, such as mp4 or webm."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="With --format: the directory for the outputs."),
    ] = None,
) -> None:
    """Convert, resize, trim or compress audio and video.

    Examples:
      aitbc transcode film.mov film.mp4
      aitbc transcode film.mov small.mp4 --resolution 1280x720 --codec h264
      aitbc transcode films/ --format webm -o small/
    """
    targets = _targets(files, output_format, output, batch)
    inputs = [item for item, _ in targets]
    check_distinct((item.label, path) for item, path in targets)
    options = job.body(context)
    works = [
        BatchWork(
            label=item.label,
            route="ffmpeg/transcode",
            body={
                **encoding.body,
                **item.address_in("input_url"),
                "output_format": path.suffix.removeprefix(".").lower(),
            },
            options={"name": item.name, **options},
            delivery=SingleFile(path),
            files=item.file_in("input_url"),
            receipt=receipt_of(job.receipt, item, inputs),
        )
        for item, path in targets
    ]
    perform(context, works, job=job, batch=batch)


def _targets(
    files: Sequence[str], output_format: str | None, output: Path | None, batch: BatchOptions
) -> list[tuple[BatchInput, Path]]:
    """Return the inputs, each with its output file."""
    if output_format is not None:
        check_directory(output)
        inputs = find_inputs(files, MEDIA, recursive=batch.recursive, is_output=Journal().is_output)
        return [(item, item.beside(f".{output_format.lower()}", output)) for item in inputs]
    if output is not None or len(files) != _PAIR:
        raise typer.BadParameter(
            "Name an input and an output file (in.mov out.mp4), or use --format for any number of inputs."
        )
    target = Path(files[1])
    if not target.suffix:
        raise typer.BadParameter("OUT has no suffix that determines the format, such as .mp4.")
    inputs = find_inputs(files[:1], MEDIA, recursive=False)
    if len(inputs) != 1:
        raise typer.BadParameter(f"{files[0]} matches {len(inputs)} files. Use --format instead of OUT.")
    return [(inputs[0], target)]
