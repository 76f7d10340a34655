"""`aitbc render`: images and videos of Blender scenes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from aitbc.cli._arguments.options import BatchOptions, JobOptions, Parameters, with_options
from aitbc.cli._batch.inputs import check_distinct, find_inputs
from aitbc.cli._batch.names import safe_name
from aitbc.cli._batch.run import check_directory, perform, receipt_of
from aitbc.cli._batch.work import Delivery, Work, Writer
from aitbc.models import JobEvent, JobResults

SCENES = frozenset({".blend"})


@dataclass(frozen=True)
class Rendering(Parameters):
    """Which part of a scene is rendered, and how."""

    frames: Annotated[
        str | None,
        typer.Option(
            metavar="LIST", help="Frames, such as 7, 1-48 or 1,5,9-12. Default: the file's current frame."
        ),
    ] = None
    engine: Annotated[str | None, typer.Option(help="cycles or eevee. Default: the file's engine.")] = None
    samples: Annotated[int | None, typer.Option(min=1, help="Samples per pixel.")] = None
    output_format: Annotated[
        str | None, typer.Option("--format", "-f", help="png, jpeg or exr. Default: png.")
    ] = None
    camera: Annotated[str | None, typer.Option(help="The name of a camera in the file.")] = None
    scene: Annotated[str | None, typer.Option(help="The name of a scene in the file.")] = None
    seed: Annotated[int | None, typer.Option(help="The seed of the noise.")] = None
    transparent: Annotated[
        bool | None,
        typer.Option(
            "--transparent/--opaque", help="Render without a background. Default: the file's setting."
        ),
    ] = None
    denoise: Annotated[
        bool | None, typer.Option("--denoise/--noisy", help="Remove noise. Default: the file's setting.")
    ] = None
    video: Annotated[bool | None, typer.Option("--video", help="Also encode the frames as an MP4.")] = None
    fps: Annotated[float | None, typer.Option(help="Frames per second of the MP4.")] = None


@with_options
def render(
    context: typer.Context,
    scenes: Annotated[
        list[str],
        typer.Argument(metavar="SCENE", help=".blend files, directories, patterns, URLs or artifacts."),
    ],
    rendering: Rendering,
    job: JobOptions,
    batch: BatchOptions,
    resolution: Annotated[
        str | None, typer.Option(metavar="WxH", help="The size, such as 1920x1080.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="The directory for frames. Default: one next to the scene."
        ),
    ] = None,
) -> None:
    """Render scenes. Each frame is written as soon as it is finished."""
    check_directory(output)
    inputs = find_inputs(scenes, SCENES, recursive=batch.recursive)
    body = {**rendering.body, **_sides(resolution)}
    alone = output if len(inputs) == 1 else None
    targets = [alone or one.beside("", output) for one in inputs]
    check_distinct(zip((one.label for one in inputs), targets, strict=True))
    options = job.body(context)
    works = [
        Work(
            label=one.label,
            route="blender/render",
            body={**body, **one.address_in("blend_file_url")},
            options={"name": one.name, **options},
            delivery=_Frames(target),
            files=one.file_in("blend_file_url"),
            receipt=receipt_of(job.receipt, one, inputs),
        )
        for one, target in zip(inputs, targets, strict=True)
    ]
    perform(context, works, job=job, batch=batch)


def _sides(resolution: str | None) -> dict[str, int]:
    if resolution is None:
        return {}
    width, _, height = resolution.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise typer.BadParameter(f"--resolution {resolution} is not WIDTHxHEIGHT, such as 1920x1080.")
    return {"resolution_x": int(width), "resolution_y": int(height)}


class _Frames(Delivery):
    """A directory with the frames, and the video if there is one."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.targets = (directory,)

    async def during(self, event: JobEvent, writer: Writer) -> None:
        """See `Delivery.during`."""
        artifact_id = event.data.get("artifact_id")
        if event.kind == "output" and isinstance(artifact_id, str):
            path = self._path(str(event.data.get("name", "")))
            await writer.fetch(artifact_id, path, early=True)

    async def after(self, answer: JobResults, writer: Writer) -> None:
        """See `Delivery.after`."""
        for file in answer.output_files():
            await writer.fetch(file.artifact_id, self._path(file.name))

    def _path(self, name: str) -> Path:
        return self._directory / safe_name(name, "frame")
