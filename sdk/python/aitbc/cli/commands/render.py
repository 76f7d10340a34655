"""`aitbc render`: images and videos of Blender scenes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer

from aitbc.answers.jobs import JobEvent, JobResults
from aitbc.cli._arguments.option_names import Parameters
from aitbc.cli._arguments.options import BatchOptions, JobOptions, with_options
from aitbc.cli._batch.inputs import BatchInput, check_distinct, find_inputs
from aitbc.cli._batch.names import safe_name
from aitbc.cli._batch.run import check_directory, perform, receipt_of
from aitbc.cli._batch.work import BatchWork, OutputDelivery, Writer

SCENES = frozenset({".blend"})
MOST_JOBS = 64
"""Of one scene. As many jobs of one command can run at the same time."""
MOST_FRAMES = 1000 * MOST_JOBS
"""Of one range. A job renders at most 1000 frames."""
_RANGE = re.compile(r"(\d{1,7})(?:-(\d{1,7}))?")


@dataclass(frozen=True)
class RenderingOptions(Parameters):
    """Which part of a scene is rendered, and how."""

    frames: Annotated[
        str | None,
        typer.Option(
            metavar="LIST", help="Frames, such as 7, 1-48 or 1,5,9-12. Default: the file's current frame."
        ),
    ] = None
    engine: Annotated[str | None, typer.Option(help="cycles or eevee. Default: the file's engine.")] = None
    samples: Annotated[
        int | None, typer.Option(min=1, help="Samples per pixel. Default: the file's setting.")
    ] = None
    output_format: Annotated[
        str | None, typer.Option("--format", "-f", help="png, jpeg or exr. Default: png.")
    ] = None
    camera: Annotated[
        str | None, typer.Option(help="The name of a camera in the file. Default: the active one.")
    ] = None
    scene: Annotated[
        str | None, typer.Option(help="The name of a scene in the file. Default: the active one.")
    ] = None
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
    fps: Annotated[
        float | None, typer.Option(help="Frames per second of the MP4. Default: the file's setting.")
    ] = None


@with_options
def render(
    context: typer.Context,
    scenes: Annotated[
        list[str],
        typer.Argument(metavar="SCENE", help=".blend files, directories, patterns, URLs or artifacts."),
    ],
    rendering: RenderingOptions,
    job: JobOptions,
    batch: BatchOptions,
    resolution: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="The size, such as 1920x1080. Default: the file's setting."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="The directory for frames. Default: one next to the scene."
        ),
    ] = None,
    split: Annotated[
        int,
        typer.Option(
            min=1,
            max=MOST_JOBS,
            metavar="N",
            help="Divide the frames of a scene among N jobs, which several miners can run at once.",
        ),
    ] = 1,
) -> None:
    """Render scenes. Each frame is written as soon as it is finished.

    Examples:
      aitbc render scene.blend
      aitbc render scene.blend --frames 1-48 --video -o film/
      aitbc render scene.blend --frames 1-480 --split 8 --engine cycles
    """
    check_directory(output)
    inputs = find_inputs(scenes, SCENES, recursive=batch.recursive)
    body = {**rendering.body, **_sides(resolution)}
    alone = output if len(inputs) == 1 else None
    targets = [alone or item.beside("", output) for item in inputs]
    check_distinct(zip((item.label for item in inputs), targets, strict=True))
    options = job.body(context)
    shares = [rendering.frames] if split == 1 else _shares(rendering, split)
    parts = [
        (_part(item, frames) if frames and split > 1 else item, frames, target)
        for item, target in zip(inputs, targets, strict=True)
        for frames in shares
    ]
    works = [
        BatchWork(
            label=part.label,
            route="blender/render",
            body={**body, **({"frames": frames} if frames else {}), **part.address_in("blend_file_url")},
            options={"name": part.name, **options},
            delivery=_Frames(target),
            files=part.file_in("blend_file_url"),
            receipt=receipt_of(job.receipt, part, [part for part, _, _ in parts]),
        )
        for part, frames, target in parts
    ]
    perform(context, works, job=job, batch=replace(batch, at_once=max(batch.at_once, split)))


def _sides(resolution: str | None) -> dict[str, int]:
    if resolution is None:
        return {}
    width, _, height = resolution.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise typer.BadParameter(f"--resolution {resolution} is not WIDTHxHEIGHT, such as 1920x1080.")
    return {"resolution_x": int(width), "resolution_y": int(height)}


def _shares(rendering: RenderingOptions, split: int) -> list[str]:
    """Return the frames of each job: runs of the same length, but for one frame. Fewer frames than jobs mean fewer jobs."""
    if rendering.video:
        raise typer.BadParameter(
            "--split cannot be combined with --video, since each job would encode its own part."
        )
    frames = _numbers(rendering.frames or "")
    jobs = min(split, len(frames))
    starts = [len(frames) * number // jobs for number in range(jobs + 1)]
    return [_text(frames[start:end]) for start, end in pairwise(starts)]


def _numbers(frames: str) -> list[int]:
    """Return the frames of a list such as 1,5,9-12, sorted and unique."""
    numbers: set[int] = set()
    for part in frames.replace(" ", "").split(","):
        match = _RANGE.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < first + MOST_FRAMES:
            raise typer.BadParameter(
                f"--split divides the frames that --frames names, such as 1-48 or 1,5,9-12. It cannot divide {frames!r}."
            )
        numbers.update(range(first, last + 1))
    return sorted(numbers)


def _text(frames: Sequence[int]) -> str:
    """Return sorted frames as a list of ranges."""
    runs: list[list[int]] = []
    for frame in frames:
        if runs and frame == runs[-1][1] + 1:
            runs[-1][1] = frame
        else:
            runs.append([frame, frame])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _part(item: BatchInput, frames: str) -> BatchInput:
    """Return the input under a name of its own, for the job, its line and its receipt."""
    below = item.below.with_name(f"{item.below.stem} {frames}{item.below.suffix}")
    return replace(item, label=f"{item.label} {frames}", below=below)


class _Frames(OutputDelivery):
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
        """See `OutputDelivery.after`."""
        for file in answer.output_files():
            await writer.fetch(file.artifact_id, self._path(file.name))

    def _path(self, name: str) -> Path:
        return self._directory / safe_name(name, "frame")
