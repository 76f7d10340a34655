"""`aitbc transcode`: one media file into another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aitbc.cli._output import print_json, say
from aitbc.cli._run import finish
from aitbc.cli._state import JsonOption, MaxCostOption, ReceiptOption, client_of, pricing
from aitbc.errors import TransportError


def transcode(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="IN", help="A media file, a URL, or an artifact.")],
    target: Annotated[
        Path, typer.Argument(metavar="OUT", help="The file to write; its suffix says the format.")
    ],
    codec: Annotated[str | None, typer.Option(help="The video codec, such as h264 or vp9.")] = None,
    resolution: Annotated[str | None, typer.Option(metavar="WxH", help="The size, such as 1280x720.")] = None,
    fps: Annotated[float | None, typer.Option(help="Pictures a second.")] = None,
    quality: Annotated[int | None, typer.Option(help="The constant rate factor; less is better.")] = None,
    bitrate: Annotated[str | None, typer.Option(help="The video bitrate, such as 2500k.")] = None,
    audio_codec: Annotated[str | None, typer.Option(help="The audio codec, copy or none.")] = None,
    start: Annotated[float | None, typer.Option(help="Begin at this second of the input.")] = None,
    duration: Annotated[float | None, typer.Option(help="Take so many seconds.")] = None,
    receipt: ReceiptOption = None,
    max_cost: MaxCostOption = None,
    as_json: JsonOption = False,
) -> None:
    """Convert, resize, cut or recompress audio and video."""
    output_format = target.suffix.removeprefix(".").lower()
    if not output_format:
        raise typer.BadParameter("OUT needs a suffix that says the format, such as .mp4.")
    if target.exists() and target.resolve() == Path(source).resolve():
        raise typer.BadParameter("OUT is the same file as IN.")
    with client_of(context) as client:
        job = client.services.transcode(
            source,
            output_format=output_format,
            codec=codec,
            resolution=resolution,
            fps=fps,
            quality=quality,
            bitrate=bitrate,
            audio_codec=audio_codec,
            start=start,
            duration=duration,
            pricing=pricing(max_cost),
        )
        answer = finish(client, job, receipt)
        files = answer.output_files()
        if not files:
            raise TransportError(f"The results of job {job.job_id} name no file.")
        client.artifacts.download(files[0].artifact_id, to=target)
    if as_json:
        print_json(answer.to_dict())
    else:
        say(f"wrote {target}")
